//! A real registry (Debian's docker-registry) on loopback, filled through its own API, and what it can be guarded with.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::account::SCRATCH;
use super::http::{Act, Answer, Server, call};
use super::image::{digest, hex};
use super::{Image, within};

/// Whom the guarded registries know.
pub const USER: &str = "ann";
pub const PASSWORD: &str = "kelp-s3cret";
/// bcrypt of [`PASSWORD`].
const HTPASSWD: &str = "$2y$05$abcdefghijklmnopqrstuuYYpD.ksN8jDYDPzGh3omkvqER8zf7FC";

/// A registry process over a directory of content. Ends when dropped.
pub struct Registry {
    child: Child,
    port: u16,
    /// Shared by all registries over the same content; removed by the one that made it.
    content: PathBuf,
    owner: bool,
}

/// How layers are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// Whose media types are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Oci,
    Docker,
}

/// A manifest in a registry.
#[derive(Debug, Clone)]
pub struct Pushed {
    pub digest: String,
    pub size: usize,
    pub media_type: String,
    /// Digests and sizes of the layers' blobs.
    pub layers: Vec<(String, usize)>,
}

/// A certificate authority of the test's own, and a server's certificate from it.
pub struct Authority {
    dir: PathBuf,
}

impl Registry {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let content = Path::new(SCRATCH).join(format!("registry-{}-{number}", std::process::id()));
        fs::create_dir_all(&content).unwrap();
        Self::serve(content, true, "", "")
    }

    /// The same content behind a name and a password.
    pub fn with_password(&self) -> Self {
        let file = self.content.join("htpasswd");
        fs::write(&file, format!("{USER}:{HTPASSWD}\n")).unwrap();
        let auth = format!("auth: {{htpasswd: {{realm: kelp-tests, path: {}}}}}\n", file.display());
        Self::serve(self.content.clone(), false, &auth, "")
    }

    /// The same content behind TLS.
    pub fn with_tls(&self, authority: &Authority) -> Self {
        let tls =
            format!(", tls: {{certificate: {0}/server.crt, key: {0}/server.key}}", authority.dir.display());
        Self::serve(self.content.clone(), false, "", &tls)
    }

    /// The same content behind a token server at `realm` whose tokens are signed by `authority`.
    pub fn with_tokens(&self, realm: &str, authority: &Authority) -> Self {
        let auth = format!(
            "auth: {{token: {{realm: '{realm}', service: kelp-tests, issuer: kelp-tests, rootcertbundle: {}/ca.crt}}}}\n",
            authority.dir.display()
        );
        Self::serve(self.content.clone(), false, &auth, "")
    }

    fn serve(content: PathBuf, owner: bool, auth: &str, http: &str) -> Self {
        let port = free_port();
        let settings = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}/data}}}}\n{auth}\
             http: {{addr: '127.0.0.1:{port}'{http}}}\n",
            content.display()
        );
        let file = content.join(format!("{port}.yml"));
        fs::write(&file, settings).unwrap();
        // It must not outlive a test that is killed.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is missing: run tests/setup as root first");
        let up = within(Duration::from_secs(20), || TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(up && child.try_wait().unwrap().is_none(), "docker-registry does not start");
        Self { child, port, content, owner }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stores a blob and gives its digest.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let begun = call(self.port, "POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"");
        assert_eq!(begun.status, 202, "{}", String::from_utf8_lossy(&begun.body));
        let location = begun.header("location").unwrap();
        let path = &location[location.find("/v2/").unwrap()..];
        let digest = digest(bytes);
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}digest={digest}");
        let kind = [("Content-Type", "application/octet-stream")];
        let done = call(self.port, "PUT", &path, &kind, bytes);
        assert_eq!(done.status, 201, "{}", String::from_utf8_lossy(&done.body));
        digest
    }

    /// Stores a manifest or an index under a tag.
    pub fn put_manifest(&self, repository: &str, tag: &str, document: &Value) -> Pushed {
        let media_type = document["mediaType"].as_str().unwrap().to_owned();
        let bytes = document.to_string().into_bytes();
        let path = format!("/v2/{repository}/manifests/{tag}");
        let done = call(self.port, "PUT", &path, &[("Content-Type", &media_type)], &bytes);
        assert_eq!(done.status, 201, "{}", String::from_utf8_lossy(&done.body));
        Pushed { digest: digest(&bytes), size: bytes.len(), media_type, layers: Vec::new() }
    }

    /// Stores an image under a tag.
    pub fn push(&self, repository: &str, tag: &str, image: &Image) -> Pushed {
        self.push_as(repository, tag, image, Format::Oci, Packing::Gzip)
    }

    pub fn push_as(
        &self,
        repository: &str,
        tag: &str,
        image: &Image,
        format: Format,
        packing: Packing,
    ) -> Pushed {
        let config = image.configuration();
        let (manifest_type, config_type, layer_type) = media_types(format, packing);
        let config_digest = self.put_blob(repository, &config);
        let mut layers = Vec::new();
        for layer in image.layers() {
            let packed = pack(layer, packing);
            layers.push((self.put_blob(repository, &packed), packed.len()));
        }
        let described = |(digest, size): &(String, usize)| json!({ "mediaType": layer_type, "digest": digest, "size": size });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": { "mediaType": config_type, "digest": config_digest, "size": config.len() },
            "layers": layers.iter().map(described).collect::<Vec<_>>(),
        });
        Pushed { layers, ..self.put_manifest(repository, tag, &manifest) }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.owner {
            let _ = fs::remove_dir_all(&self.content);
        }
    }
}

fn media_types(format: Format, packing: Packing) -> (&'static str, &'static str, String) {
    let suffix = match packing {
        Packing::Plain => "",
        Packing::Gzip => "+gzip",
        Packing::Zstd => "+zstd",
    };
    match format {
        Format::Oci => (
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.config.v1+json",
            format!("application/vnd.oci.image.layer.v1.tar{suffix}"),
        ),
        Format::Docker => (
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.container.image.v1+json",
            format!("application/vnd.docker.image.rootfs.diff.tar{}", suffix.replace('+', ".")),
        ),
    }
}

/// A layer's archive as it is transferred.
pub fn pack(layer: &[u8], packing: Packing) -> Vec<u8> {
    match packing {
        Packing::Plain => layer.to_vec(),
        Packing::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(layer).unwrap();
            encoder.finish().unwrap()
        }
        Packing::Zstd => zstd::encode_all(layer, 1).unwrap(),
    }
}

/// Asked of the kernel; somebody else may take it meanwhile, which fails the test and not silently.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Authority {
    pub fn new(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let authority = Self { dir };
        let subject = |name: &str| format!("/CN={name}");
        authority.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
            "-subj",
            &subject("kelp tests"),
            "-addext",
            "keyUsage=critical,keyCertSign,digitalSignature",
        ]);
        authority.openssl(&[
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "server.key",
            "-out",
            "server.csr",
            "-subj",
            &subject("127.0.0.1"),
        ]);
        fs::write(authority.dir.join("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
        authority.openssl(&[
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "names",
            "-out",
            "server.crt",
        ]);
        authority
    }

    /// One that was made before.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn openssl(&self, args: &[&str]) -> Vec<u8> {
        let out = Command::new("openssl").args(args).current_dir(&self.dir).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    }

    /// The authority's own certificate, in PEM.
    pub fn certificate(&self) -> Vec<u8> {
        fs::read(self.dir.join("ca.crt")).unwrap()
    }

    /// A token for reading a repository, as docker-registry wants them: a JWT with the certificate in it.
    fn token(&self, repository: &str) -> String {
        let der = self.openssl(&["x509", "-in", "ca.crt", "-outform", "DER"]);
        let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [base64(&der, true)] });
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({
            "iss": "kelp-tests", "aud": "kelp-tests", "sub": USER, "jti": hex(repository.as_bytes()),
            "nbf": now - 60, "iat": now - 60, "exp": now + 600,
            "access": [{ "type": "repository", "name": repository, "actions": ["pull"] }],
        });
        let text = [header, claims].map(|part| base64(part.to_string().as_bytes(), false)).join(".");
        let file = format!("token-{}", hex(text.as_bytes()));
        fs::write(self.dir.join(&file), &text).unwrap();
        let signature = self.openssl(&["dgst", "-sha256", "-sign", "ca.key", &file]);
        format!("{text}.{}", base64(&signature, false))
    }
}

/// A token server: tokens for `public` without a word, for anything else for [`USER`] alone. Every request is recorded.
pub fn token_server(authority: Authority) -> Server {
    let basic = format!("Basic {}", base64(format!("{USER}:{PASSWORD}").as_bytes(), true));
    Server::start(None, move |request, _| {
        let query = if request.method == "POST" { request.body.as_str() } else { request.path.as_str() };
        let repository = query.split("repository%3A").nth(1).and_then(|r| r.split("%3A").next());
        let repository = repository.unwrap_or_default().replace("%2F", "/");
        let known = request.header("authorization") == Some(&basic)
            || request.body.contains("grant_type=refresh_token")
                && request.body.contains("refresh_token=golden");
        if known || repository == "public" {
            let token = authority.token(&repository);
            return Act::Say(Answer::new(200, json!({ "token": token }).to_string()));
        }
        let said = json!({ "details": "incorrect username or password" });
        Act::Say(Answer::new(401, said.to_string()))
    })
}

fn base64(bytes: &[u8], standard: bool) -> String {
    use ::base64::Engine;
    use ::base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    if standard { STANDARD.encode(bytes) } else { URL_SAFE_NO_PAD.encode(bytes) }
}
