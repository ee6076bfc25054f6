//! TLS: whom kelp believes to be a registry, and where plain HTTP goes.

use super::pull::image;
use crate::harness::{Act, Answer, Authority, Curt, Registry, Sandbox, Server};

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
