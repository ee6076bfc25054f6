//! login, logout: who is told a password, and where it is kept. The T-tests are named after the list of advisories.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::pull::image;
use crate::harness::{
    Act, Answer, Authority, Layer, PASSWORD, Registry, Sandbox, Server, USER, token_server,
};

/// T-credleak: a registry sends us elsewhere, and there we are nobody.
#[test]
fn credentials_stay_with_their_registry() {
    let s = Sandbox::new();
    let registry = Registry::new();
    registry.push("app", "1", &image("x"));
    let guarded = registry.with_password();
    let elsewhere = Server::start(Some(registry.port()), |request, n| {
        if n == 0 && request.is_blob() {
            return Act::Say(Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"tell me\""));
        }
        Act::Pass
    });
    let target = format!("http://{}", elsewhere.host());
    let front = Server::start(Some(guarded.port()), move |request, _| {
        if request.is_blob() && request.header("authorization").is_some() {
            return Act::Say(Answer::new(307, "").with("Location", format!("{target}{}", request.path)));
        }
        Act::Pass
    });
    let docker = s.dir("docker");
    let kelp = |line: &[&str]| {
        s.kelp(line.iter().map(|w| w.to_string()).collect::<Vec<_>>()).env("DOCKER_CONFIG", &docker)
    };
    let login = kelp(&["login", "-u", USER, "--password-stdin", &front.host()]);
    login.stdin(PASSWORD).exits(0).has("Login Succeeded").says("stored unencrypted");
    let name = format!("{}/app:1", front.host());
    let out = kelp(&["pull", &name]).env("KELP_LOG", "trace").exits(77);
    out.says("denied");
    assert!(!out.stderr.contains(PASSWORD) && !out.stderr.contains("Basic YW"), "{}", out.story());
    kelp(&["pull", &name]).exits(0);
    let seen = elsewhere.seen();
    assert!(seen.len() >= 3, "{seen:#?}");
    assert!(seen.iter().all(|r| r.header("authorization").is_none()), "{seen:#?}");
    assert!(front.seen().iter().any(|r| r.header("authorization").is_some()));
    let inspected = s.ok(["image", "inspect", &name]).stdout + &s.ok(["images", "--format", "json"]).stdout;
    assert!(!inspected.contains(PASSWORD));
}

#[test]
fn login_and_logout_as_docker_has_them() {
    let s = Sandbox::new();
    let registry = Registry::new();
    registry.push("app", "1", &image("x"));
    let guarded = registry.with_password();
    let (host, docker) = (guarded.host(), s.dir("docker"));
    let name = format!("{host}/app:1");
    let kelp = |line: String| s.kelp(&line).env("DOCKER_CONFIG", &docker);
    let out = kelp(format!("pull {name}")).exits(77);
    out.says("denied").says(&format!("kelp login {host}"));
    kelp(format!("run {name}")).exits(125).says("denied");
    kelp(format!("login -u {USER} -p wrong {host}")).exits(77).says("insecure").says("does not let you in");
    kelp(format!("login -u {USER} --password-stdin {host}")).stdin("").exits(1);
    kelp(format!("login --password-stdin {host}")).stdin(PASSWORD).exits(1).says("--username");
    kelp(format!("login -p x --password-stdin {host}")).exits(1);
    kelp(format!("login {host}")).exits(1).says("terminal");
    assert!(!docker.join("config.json").exists());
    kelp(format!("login -u {USER} --password-stdin {host}")).stdin(format!("{PASSWORD}\n")).exits(0);
    let file = docker.join("config.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    kelp(format!("login {host}")).exits(0).is("Login Succeeded").says("existing credentials");
    kelp(format!("pull {name}")).exits(0);
    // podman's files, and the variable that names one.
    let auth = s.write("auth.json", std::fs::read(&file).unwrap());
    kelp(format!("logout {host}")).exits(0).is(&format!("Removing login credentials for {host}"));
    kelp(format!("logout {host}")).exits(0).is(&format!("Not logged in to {host}"));
    s.ok(["rmi", &name]);
    kelp(format!("pull {name}")).exits(77);
    kelp(format!("pull {name}")).env("REGISTRY_AUTH_FILE", &auth).exits(0);
    s.ok(["rmi", &name]);
    s.write("run/containers/auth.json", std::fs::read(&auth).unwrap());
    kelp(format!("pull {name}")).env("XDG_RUNTIME_DIR", s.work().join("run")).exits(0);
    kelp(format!("logout {host}")).env("XDG_RUNTIME_DIR", s.work().join("run")).exits(0).says("auth.json");
}

/// T-credleak: a helper that is named and fails ends the attempt; one that works is used, and keeps the secret.
#[test]
fn credential_helpers() {
    let s = Sandbox::new();
    let registry = Registry::new();
    registry.push("app", "1", &image("x"));
    let guarded = registry.with_password();
    let (host, docker) = (guarded.host(), s.dir("docker"));
    let front = Server::start(Some(guarded.port()), |_, _| Act::Pass);
    s.write("docker/config.json", json!({ "credsStore": "no-such" }).to_string());
    let name = format!("{}/app:1", front.host());
    let call = s.kelp(["pull", &name]).env("DOCKER_CONFIG", &docker);
    call.exits(1).says("docker-credential-no-such");
    assert!(front.seen().iter().all(|r| r.header("authorization").is_none()));

    let helper = s.write(
        "bin/docker-credential-file",
        "#!/bin/sh\ncd \"${0%/*}\"\ncase $1 in\nstore) cat > secret ;;\n\
         get) [ -e secret ] || { echo credentials not found in native keychain; exit 1; }; cat secret ;;\n\
         erase) rm secret ;;\nesac\n",
    );
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    s.write("docker/config.json", json!({ "credHelpers": { (host.as_str()): "file" } }).to_string());
    let path = format!("{}:/usr/bin:/bin", s.work().join("bin").display());
    let kelp = |line: String| s.kelp(&line).env("DOCKER_CONFIG", &docker).env("PATH", &path);
    let name = format!("{host}/app:1");
    kelp(format!("pull {name}")).exits(77);
    let out = kelp(format!("login -u {USER} --password-stdin {host}")).stdin(PASSWORD).exits(0);
    out.silent();
    let kept = std::fs::read_to_string(docker.join("config.json")).unwrap();
    assert!(!kept.contains("auth\":") && kept.contains(&host), "{kept}");
    kelp(format!("pull {name}")).exits(0);
    kelp(format!("logout {host}")).exits(0).has("Removing");
    assert!(!s.work().join("bin/secret").exists());
}

#[test]
fn bearer_tokens_anonymous_with_password_and_identity_token() {
    let s = Sandbox::new();
    let registry = Registry::new();
    for repository in ["public", "private/app"] {
        registry.push(repository, "1", &image(repository));
    }
    let tokens = token_server(Authority::new(s.dir("token-ca")));
    let authority = Authority::at(s.work().join("token-ca"));
    let guarded = registry.with_tokens(&format!("http://{}/token", tokens.host()), &authority);
    let (host, docker) = (guarded.host(), s.dir("docker"));
    let kelp = |line: String| s.kelp(&line).env("DOCKER_CONFIG", &docker);
    kelp(format!("pull {host}/public:1")).exits(0);
    assert_eq!(tokens.seen().len(), 1, "one token serves for manifest and blobs");
    assert!(tokens.seen()[0].path.contains("scope=repository%3Apublic%3Apull"));
    kelp(format!("pull {host}/private/app:1")).exits(77).says("incorrect username or password");
    kelp(format!("login -u {USER} -p wrong {host}")).exits(77);
    kelp(format!("login -u {USER} --password-stdin {host}")).stdin(PASSWORD).exits(0);
    kelp(format!("pull {host}/private/app:1")).exits(0);
    s.ok(["rmi", &format!("{host}/private/app:1")]);
    let auths = json!({ "auths": { (host.as_str()): { "identitytoken": "golden" } } });
    s.write("docker/config.json", auths.to_string());
    tokens.forget();
    kelp(format!("pull {host}/private/app:1")).exits(0);
    let seen = tokens.seen();
    assert!(seen.iter().any(|r| r.method == "POST" && r.body.contains("refresh_token=golden")), "{seen:#?}");
}

/// T-redact: an address that has a password in it is known without it.
#[test]
fn the_password_of_an_import_is_not_kept() {
    let s = Sandbox::new();
    let archive = Layer::default().file("x", 0o644, b"x").bytes();
    let server = Server::start(None, move |_, _| Act::Say(Answer::new(200, archive.clone())));
    let url = format!("http://ann:s3cret@{}/x.tar?token=s3cret", server.host());
    s.ok(["import", &url, "imported"]).silent();
    assert!(server.seen()[0].header("authorization").is_some());
    for path in [s.store().join("kelp.db"), s.store().join("kelp.db-wal"), s.store().join("events.log")] {
        let bytes = std::fs::read(&path).unwrap_or_default();
        assert!(!bytes.windows(6).any(|w| w == b"s3cret"), "{}", path.display());
    }
    s.ok("image inspect imported").has("Imported from http://127.0.0.1").lacks("s3cret");
    s.exits(1, ["import", &url.replace("http:", "ftp:")]).lacks("s3cret");
}
