//! Certificates for a server and its clients, good and bad, as files.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use conformance_tests::own::Outcome;
use conformance_tests::servers::TlsRecipe;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// Two authorities and whom they signed. The files go with this.
pub(crate) struct Certificates {
    directory: PathBuf,
    ca: PathBuf,
    wrong: PathBuf,
    server: Files,
    client: Files,
    stranger: Files,
}

/// A key and a certificate.
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Certificates {
    pub(crate) fn make() -> Result<Self, Outcome> {
        let random = RandomState::new().hash_one(0);
        let directory = std::env::temp_dir().join(format!("portolan-tls-{random:x}"));
        Self::make_in(directory).map_err(|error| Outcome::Broken(error.to_string()))
    }

    fn make_in(directory: PathBuf) -> Result<Self, Box<dyn Error>> {
        std::fs::create_dir_all(&directory)?;
        let (ours, others) = (authority()?, authority()?);
        let (ca, wrong) = (directory.join("ca.pem"), directory.join("wrong.pem"));
        std::fs::write(&ca, ours.pem())?;
        std::fs::write(&wrong, others.pem())?;
        let server = signed(&ours, &directory, "server")?;
        let client = signed(&ours, &directory, "client")?;
        let stranger = signed(&others, &directory, "stranger")?;
        Ok(Self { directory, ca, wrong, server, client, stranger })
    }

    /// What the server shows and believes.
    pub(crate) fn server(&self) -> TlsRecipe {
        let Files { cert, key } = &self.server;
        TlsRecipe { ca: self.ca.clone(), cert: cert.clone(), key: key.clone() }
    }

    /// The parameters of a URL that works.
    pub(crate) fn good(&self) -> String {
        parameters(&self.ca, &self.client)
    }

    /// Those of some that do not: another authority, one of another authority, one
    /// that shows nothing.
    pub(crate) fn bad(&self) -> [String; 3] {
        let nameless = format!("?ca={}", self.ca.display());
        [parameters(&self.wrong, &self.client), parameters(&self.ca, &self.stranger), nameless]
    }

    /// Those of one that names a file that is not there.
    pub(crate) fn missing(&self) -> String {
        parameters(&self.directory.join("nowhere.pem"), &self.client)
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn parameters(ca: &Path, files: &Files) -> String {
    let (cert, key) = (files.cert.display(), files.key.display());
    format!("?ca={}&cert={cert}&key={key}", ca.display())
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = named(Vec::new(), "authority")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// Everybody has a name of his own: one who is called like who signed him seems to
/// have signed himself.
fn named(places: Vec<String>, name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(places)?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn signed(
    by: &CertifiedIssuer<'static, KeyPair>,
    directory: &Path,
    name: &str,
) -> Result<Files, Box<dyn Error>> {
    let key = KeyPair::generate()?;
    let params = named(vec!["127.0.0.1".to_owned(), "localhost".to_owned()], name)?;
    let cert = params.signed_by(&key, by)?;
    let files = Files {
        cert: directory.join(format!("{name}.pem")),
        key: directory.join(format!("{name}.key")),
    };
    std::fs::write(&files.cert, cert.pem())?;
    std::fs::write(&files.key, key.serialize_pem())?;
    Ok(files)
}
