//! Certificates for encrypted connections, read when a handle is opened.

use std::path::Path;

use etcd_client::{Certificate, Identity, TlsOptions};
use registry_api::{Error, Result};

use crate::options::TlsFiles;

/// What an encrypted connection checks and shows.
pub(crate) fn options(files: &TlsFiles) -> Result<TlsOptions> {
    let mut options = TlsOptions::new();
    options = match &files.ca {
        Some(ca) => options.ca_certificate(Certificate::from_pem(read("ca", ca)?)),
        None => options.with_webpki_roots(),
    };
    if let Some((cert, key)) = files.cert.as_ref().zip(files.key.as_ref()) {
        options = options.identity(Identity::from_pem(read("cert", cert)?, read("key", key)?));
    }
    if let Some(domain) = &files.domain {
        options = options.domain_name(domain);
    }
    Ok(options)
}

fn read(field: &'static str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        let rule = "must be a file in PEM format that can be read";
        Error::invalid(field, rule).with("file", path.display()).because(error)
    })
}
