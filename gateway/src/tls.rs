//! The certificate of the gRPC listener, which is read again when its files change.

use std::fmt::{self, Debug};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, crypto};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

/// Where a certificate and its key are, in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, and those that lead to one that clients know.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A certificate at work. New connections get the one that is in the files now;
/// open ones keep theirs. Ends its watch of the files when dropped.
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    task: JoinHandle<()>,
}

/// What is shown to the next client.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

impl Tls {
    /// Reads the files. The error names the one at fault.
    pub(crate) fn open(files: TlsFiles) -> io::Result<Self> {
        let current = Arc::new(Current(ArcSwap::from_pointee(read(&files)?)));
        let resolver: Arc<Current> = Arc::clone(&current);
        let provider = Arc::new(crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(io::Error::other)?.with_no_client_auth();
        let mut config = config.with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { acceptor, task: tokio::spawn(look(files, current)) })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn read(files: &TlsFiles) -> io::Result<CertifiedKey> {
    let wrong = |path: &PathBuf, reason: &dyn fmt::Display| {
        io::Error::other(format!("{}: {reason}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(&files.cert).and_then(Iterator::collect);
    let chain: Vec<_> = chain.map_err(|error| wrong(&files.cert, &error))?;
    if chain.is_empty() {
        return Err(wrong(&files.cert, &"holds no certificate"));
    }
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong(&files.key, &error))?;
    let provider = crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| wrong(&files.key, &error))
}

/// What says that a file is another one.
fn marks(files: &TlsFiles) -> [Option<(SystemTime, u64)>; 2] {
    [&files.cert, &files.key].map(|path| {
        let about = fs::metadata(path).ok()?;
        Some((about.modified().ok()?, about.len()))
    })
}

/// A pair that does not fit, as while it is being replaced, leaves the old one in
/// force, and is tried again with the next look.
async fn look(files: TlsFiles, current: Arc<Current>) {
    let mut known = marks(&files);
    loop {
        sleep(LOOK).await;
        let now = marks(&files);
        if now == known {
            continue;
        }
        match read(&files) {
            Ok(key) => {
                current.0.store(Arc::new(key));
                known = now;
                tracing::info!("the certificate was read again");
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate cannot be used; the old one stays")
            }
        }
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}
