//! pull, login, logout: what a registry may not make kelp do. The T-tests are named after the list of advisories.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::pull::image;
use crate::harness::{
    Act, Answer, Authority, Curt, Image, Layer, PASSWORD, Packing, Registry, Sandbox, Server, USER, digest,
    pack, token_server,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A registry of the test's own: these blobs, and one document under every tag.
fn liar(media_type: &'static str, document: Vec<u8>, blobs: Vec<Vec<u8>>) -> Server {
    Server::start(None, move |request, _| {
        let all = blobs.iter().chain([&document]);
        let wanted = request.path.rsplit('/').next().unwrap();
        let found = match all.clone().find(|b| digest(b) == wanted) {
            Some(found) => found.clone(),
            None if request.path.contains("/manifests/") && !wanted.contains(':') => document.clone(),
            None => return Act::Say(Answer::new(404, "")),
        };
        let own = digest(&found);
        Act::Say(Answer::new(200, found).with("Content-Type", media_type).with("Docker-Content-Digest", own))
    })
}

fn describe(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

/// A manifest of `image`'s, changed by `change`, and the blobs that belong to it.
fn manifest(image: &Image, change: impl FnOnce(&mut Value)) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut blobs: Vec<Vec<u8>> = image.layers().iter().map(|l| pack(l, Packing::Gzip)).collect();
    let layers: Vec<Value> = blobs.iter().map(|b| describe(LAYER, b)).collect();
    let config = image.configuration();
    let mut document = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": describe(CONFIG, &config), "layers": layers,
    });
    blobs.push(config);
    change(&mut document);
    (document.to_string().into_bytes(), blobs)
}

/// Nothing of it is to be seen, and nothing is kept.
#[track_caller]
fn refused(s: &Sandbox, front: &Server, says: &str) {
    let name = format!("{}/app:1", front.host());
    s.exits(1, ["pull", &name]).says(says);
    assert_eq!(s.ok("images -aq").text(), "");
    s.ok("system check");
    for place in ["staging", "layers", "blobs/sha256"] {
        let left = std::fs::read_dir(s.store().join(place)).unwrap().count();
        assert_eq!(left, 0, "left in {place}");
    }
}

/// T-ambig, and what else two readers could understand differently.
#[test]
fn ambiguous_documents_are_refused() {
    let s = Sandbox::new();
    let both = manifest(&image("x"), |m| m["manifests"] = json!([]));
    refused(&s, &liar(MANIFEST, both.0, both.1), "ambiguous");
    let other = manifest(&image("x"), |m| m["mediaType"] = json!(INDEX));
    refused(&s, &liar(MANIFEST, other.0, other.1), "contradicts");
    let plain = manifest(&image("x"), |_| {});
    refused(&s, &liar(INDEX, plain.0, plain.1), "contradicts");
    let odd = manifest(&image("x"), |m| m["layers"][0]["mediaType"] = json!("application/x-helm"));
    refused(&s, &liar(MANIFEST, odd.0, odd.1), "application/x-helm");
    let one = json!({ "schemaVersion": 1, "fsLayers": [], "name": "app", "tag": "1" }).to_string();
    refused(
        &s,
        &liar("application/vnd.docker.distribution.manifest.v1+prettyjws", one.into(), vec![]),
        "schema 1",
    );
    let fewer = manifest(&image("x"), |m| {
        m["layers"].as_array_mut().unwrap().pop();
    });
    refused(&s, &liar(MANIFEST, fewer.0, fewer.1), "layers");
}

/// T-digest.
#[test]
fn malformed_digests_are_refused_before_anything_is_asked() {
    let s = Sandbox::new();
    for bad in ["sha256:../../../../../etc/passwd", "sha256:ABC", "md5:0123", "sha512:00"] {
        let lie = manifest(&image("x"), |m| m["layers"][0]["digest"] = json!(bad));
        let front = liar(MANIFEST, lie.0, lie.1);
        refused(&s, &front, "digest");
        assert!(front.seen().iter().all(|r| !r.is_blob()), "{bad}");
        let lie = manifest(&image("x"), |m| m["config"]["digest"] = json!(bad));
        refused(&s, &liar(MANIFEST, lie.0, lie.1), "digest");
    }
}

/// What is left of a blob that is shorter than stated cannot be asked for, and is told as what it is.
#[test]
fn a_blob_shorter_than_stated_is_refused() {
    let s = Sandbox::new();
    let lie = manifest(&image("x"), |m| {
        m["layers"][1]["size"] = json!(m["layers"][1]["size"].as_u64().unwrap() + 9)
    });
    let (document, blobs) = lie;
    let server = Server::start(None, move |request, _| {
        if request.header("range").is_some() {
            return Act::Say(Answer::new(416, ""));
        }
        let wanted = request.path.rsplit('/').next().unwrap();
        match blobs.iter().find(|b| digest(b) == wanted) {
            Some(blob) => Act::Say(Answer::new(200, blob.clone())),
            None if request.path.contains("/manifests/") => {
                Act::Say(Answer::new(200, document.clone()).with("Content-Type", MANIFEST))
            }
            None => Act::Say(Answer::new(404, "")),
        }
    });
    refused(&s, &server, "ends before the");
}

/// T-bigmeta.
#[test]
fn documents_without_end_are_not_read() {
    let s = Sandbox::new();
    let huge = vec![b' '; 5 << 20];
    refused(&s, &liar(MANIFEST, huge, vec![]), "bytes");
    let wide = format!(
        r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
        vec![describe(MANIFEST, b"x").to_string(); 2000].join(",")
    );
    refused(&s, &liar(INDEX, wide.into_bytes(), vec![]), "2000 manifests");
    let large = manifest(&image("x"), |m| m["config"]["size"] = json!(1u64 << 40));
    refused(&s, &liar(MANIFEST, large.0, large.1), "larger than");
    // Five indexes, one within the other.
    let own = json!({ "os": "linux", "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" } });
    let mut inner = manifest(&image("x"), |_| {});
    for _ in 0..5 {
        let kind = if inner.0.windows(9).any(|w| w == b"manifests") { INDEX } else { MANIFEST };
        let mut entry = describe(kind, &inner.0);
        entry["platform"] = own.clone();
        let outer = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string().into_bytes();
        inner.1.push(std::mem::replace(&mut inner.0, outer));
    }
    refused(&s, &liar("application/octet-stream", inner.0, inner.1), "nested too deep");
}

/// T-verify: whichever byte is another, nothing of it gets a name.
#[test]
fn wrong_bytes_never_get_a_name() {
    let s = Sandbox::new();
    let registry = Registry::new();
    let pushed = registry.push("app", "1", &image("x"));
    for (what, at) in [("/manifests/", 20), ("/blobs/", 0), ("/blobs/", 5), ("/blobs/", 100)] {
        let front = Server::start(Some(registry.port()), move |request, _| {
            if request.method == "GET" && request.path.contains(what) { Act::Flip(at) } else { Act::Pass }
        });
        refused(&s, &front, "");
    }
    let upper = pushed.layers[1].0.clone();
    let front = Server::start(Some(registry.port()), move |request, _| {
        if request.path.ends_with(&upper) { Act::Flip(60) } else { Act::Pass }
    });
    refused(&s, &front, &pushed.layers[1].0);
    let longer = Server::start(None, {
        let lie = manifest(&image("x"), |m| m["layers"][1]["size"] = json!(3));
        let blobs = lie.1.clone();
        move |request, _| {
            let wanted = request.path.rsplit('/').next().unwrap();
            let all = blobs.iter().chain([&lie.0]);
            let found = all.clone().find(|b| digest(b) == wanted).unwrap_or(&lie.0).clone();
            Act::Say(Answer::new(200, found).with("Content-Type", MANIFEST))
        }
    });
    refused(&s, &longer, "more than the 3 bytes");
}

/// T-verify: blob and manifest agree, the config promises another content.
#[test]
fn a_diff_id_that_does_not_match_names_the_layer() {
    let s = Sandbox::new();
    let (promised, delivered) = (image("promised"), image("delivered"));
    let mut lie = manifest(&delivered, |m| {
        m["config"] = describe(CONFIG, &promised.configuration());
    });
    lie.1.push(promised.configuration());
    let layer = digest(&lie.1[1]);
    refused(&s, &liar(MANIFEST, lie.0, lie.1), &format!("layer {layer}"));
}

/// T-bomb.
#[test]
fn a_layer_that_expands_without_measure_is_refused() {
    let s = Sandbox::new();
    // A file of 2 GiB, most of which is a run of zeroes that gzip makes a thousandth of.
    let mut header = tar::Header::new_ustar();
    header.set_path("zeroes").unwrap();
    header.set_size(2 << 30);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut bomb, header.as_bytes()).unwrap();
    let zeroes = vec![0u8; 1 << 20];
    for _ in 0..2048 {
        std::io::Write::write_all(&mut bomb, &zeroes).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let mut lie = manifest(&Image::busybox(), |m| m["layers"][0] = describe(LAYER, &bomb));
    lie.1.push(bomb);
    refused(&s, &liar(MANIFEST, lie.0, lie.1), "times its size");
}

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

/// T-tls: every way in verifies.
#[test]
fn certificates_are_verified() {
    let s = Sandbox::new();
    let registry = Registry::new();
    registry.push("app", "1", &image("x"));
    let authority = Authority::new(s.dir("ca"));
    let guarded = registry.with_tls(&authority);
    let host = guarded.host();
    let name = format!("{host}/app:1");
    let config = s.work().join("config");
    let kelp = |line: String| s.kelp(&line).env("XDG_CONFIG_HOME", &config).env("DOCKER_CONFIG", s.work());
    let table = |text: &str| {
        s.write("config/kelp/config.toml", format!("[registries.\"{host}\"]\n{text}\n"));
    };
    // Told that it is a registry with TLS by a certificate of somebody else.
    let other = Authority::new(s.dir("other"));
    s.write("other.pem", other.certificate());
    table(&format!("ca = \"{}\"", s.work().join("other.pem").display()));
    let out = kelp(format!("pull {name}")).exits(76);
    out.says(&format!("the certificate of {host} is not trusted")).says("certs.d");
    kelp(format!("run {name}")).exits(125).says("not trusted");
    kelp(format!("login -u a -p b {host}")).exits(76);
    kelp(format!("import https://{host}/v2/")).exits(1).says("not trusted");
    table(&format!("ca = \"{}\"", s.write("own.pem", authority.certificate()).display()));
    kelp(format!("pull {name}")).exits(0);
    s.ok(["rmi", &name]);
    table("plain-http = false");
    s.write(&format!("config/containers/certs.d/{host}/ca.crt"), authority.certificate());
    kelp(format!("pull {name}")).exits(0);
    s.ok(["rmi", &name]);
    s.write(&format!("config/containers/certs.d/{host}/me.cert"), authority.certificate());
    kelp(format!("pull {name}")).exits(1).says("key");
    std::fs::remove_dir_all(config.join("containers")).unwrap();
    for neither in ["", "plain-http = false"] {
        table(neither);
        kelp(format!("pull {name}")).exits(76).says("certs.d");
    }
    let trusted = s.work().join("own.pem");
    kelp(format!("pull {name}")).env("SSL_CERT_FILE", &trusted).exits(0);
    table("insecure = true");
    kelp(format!("pull {name}")).exits(125).says("config.toml:2").says("insecure");
}

/// A registry on this machine need not be told to speak TLS, whatever it answers to plain HTTP, and is verified.
#[test]
fn tls_on_this_machine_is_found_out() {
    let s = Sandbox::new();
    let registry = Registry::new();
    registry.push("app", "1", &image("x"));
    let authority = Authority::new(s.dir("ca"));
    let file = s.write("own.pem", authority.certificate());
    let speaks = registry.with_tls(&authority);
    // Ends what is no TLS without a word. docker-registry answers 400.
    let curt = Curt::before(speaks.port());
    let config = s.work().join("config");
    for host in [speaks.host(), curt.host()] {
        let name = format!("{host}/app:1");
        let kelp =
            |line: String| s.kelp(&line).env("XDG_CONFIG_HOME", &config).env("DOCKER_CONFIG", s.work());
        kelp(format!("pull {name}")).exits(76).says(&format!("the certificate of {host} is not trusted"));
        kelp(format!("login -u a -p b {host}")).exits(76);
        kelp(format!("search {host}/a")).exits(76);
        for line in [
            format!("pull {name}"),
            format!("push {name}"),
            format!("push -q {host}/other:1"),
            format!("search --list-tags {host}/app"),
            format!("search {host}/app"),
            format!("login -u a -p b {host}"),
            format!("search {host}/app"),
            format!("manifest inspect {name}"),
            format!("logout {host}"),
            format!("rmi {name} {host}/other:1"),
        ] {
            if line.starts_with("push -q") {
                s.ok(["tag", &name, &format!("{host}/other:1")]);
            }
            kelp(line).env("SSL_CERT_FILE", &file).exits(0);
        }
        s.write(&format!("config/containers/certs.d/{host}/ca.crt"), authority.certificate());
        kelp(format!("pull {name}")).exits(0);
        s.ok(["rmi", &name]);
    }
    assert!(!curt.heard().contains("Authorization"), "{}", curt.heard());
}

/// Plain HTTP elsewhere is for whoever says so, for one command, and credentials follow only a 401.
#[test]
fn insecure_is_plain_http_for_one_command() {
    let s = Sandbox::new();
    let registry = Registry::new();
    registry.push("app", "1", &image("x"));
    let authority = Authority::new(s.dir("ca"));
    let speaks = registry.with_tls(&authority);
    let port = |registry: &Registry| registry.port();
    // No name of this machine's that kelp knows, and yet it is this machine.
    let elsewhere = |port: u16| format!("0.0.0.0:{port}");
    let name = format!("{}/app:1", elsewhere(port(&registry)));
    s.exits(69, ["manifest", "inspect", &name]);
    let found = s.json(["manifest", "inspect", "--insecure", &name]);
    assert_eq!(found["schemaVersion"], 2);
    s.exits(69, ["manifest", "create", "l", &name]);
    s.ok(["manifest", "create", "--insecure", "l", &name]);
    let there = format!("{}/list:1", elsewhere(port(&registry)));
    s.exits(69, ["manifest", "push", "l", &there]);
    s.ok(["manifest", "push", "--insecure", "l", &there]);
    s.ok(["manifest", "inspect", &format!("{}/list:1", registry.host())]);
    // Where TLS is spoken, it has to be the right one.
    let guarded = format!("{}/app:1", elsewhere(port(&speaks)));
    s.exits(76, ["manifest", "inspect", "--insecure", &guarded]).says("is not trusted");
    let config = format!("[registries.\"{}\"]\nplain-http = false\n", elsewhere(port(&registry)));
    s.write("config/kelp/config.toml", config);
    let call = s.kelp(["manifest", "inspect", "--insecure", &name]);
    call.env("XDG_CONFIG_HOME", s.work().join("config")).exits(69);
}

/// The system's trust store, as `SSL_CERT_FILE` names it.
#[test]
fn the_trust_store_can_be_named() {
    let s = Sandbox::new();
    let registry = Registry::new();
    registry.push("app", "1", &image("x"));
    let authority = Authority::new(s.dir("ca"));
    let guarded = registry.with_tls(&authority);
    let file = s.write("own.pem", authority.certificate());
    // https is what the mirror's URL says.
    let front = Registry::new();
    let text = format!("[registries.\"{}\"]\nmirrors = [\"https://{}\"]\n", front.host(), guarded.host());
    s.write("config/kelp/config.toml", text);
    let name = format!("{}/app:1", front.host());
    let kelp = || s.kelp(["pull", &name]).env("XDG_CONFIG_HOME", s.work().join("config"));
    kelp().exits(1).says("not found");
    kelp().env("SSL_CERT_FILE", &file).exits(0);
}

/// Plain HTTP is for this machine, and for what the user allows.
#[test]
fn plain_http_goes_nowhere_else() {
    let s = Sandbox::new();
    let registry = Registry::new();
    registry.push("app", "1", &image("x"));
    let front = Server::start(Some(registry.port()), |request, _| {
        if request.is_blob() {
            let away = format!("http://registry.invalid{}", request.path);
            return Act::Say(Answer::new(307, "").with("Location", away));
        }
        Act::Pass
    });
    let name = format!("{}/app:1", front.host());
    s.exits(1, ["pull", &name]).says("http://registry.invalid").says("plain HTTP");
    s.exits(1, "import http://registry.invalid/x.tar").says("plain HTTP");
    s.write("config/kelp/config.toml", "[registries.\"registry.invalid\"]\nplain-http = true\n");
    let call = s.kelp("pull registry.invalid/app:1").env("XDG_CONFIG_HOME", s.work().join("config"));
    call.exits(69).says("cannot reach registry.invalid");
    let bad_realm = Server::start(None, |_, _| {
        let challenge = "Bearer realm=\"http://registry.invalid/token\",service=\"x\"";
        Act::Say(Answer::new(401, "").with("WWW-Authenticate", challenge))
    });
    s.exits(1, ["pull", &format!("{}/app:1", bad_realm.host())]).says("does not use TLS");
}

/// Layers that name another place are fetched from the registry all the same.
#[test]
fn urls_of_foreign_layers_are_not_followed() {
    let s = Sandbox::new();
    let elsewhere = Server::start(None, |_, _| Act::Say(Answer::new(200, "")));
    let url = format!("http://{}/layer", elsewhere.host());
    let lie = manifest(&Image::busybox().layer(Layer::default().file("n", 0o644, b"1")), |m| {
        m["layers"][1]["urls"] = json!([url]);
    });
    let front = liar(MANIFEST, lie.0, lie.1);
    s.ok(["pull", &format!("{}/app:1", front.host())]);
    assert!(elsewhere.seen().is_empty());
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
