//! Calls to servers of go-easyops: TLS with the one name they know, whatever their
//! certificate, and a context that is signed.

use std::fmt::{self, Debug};
use std::io;
use std::sync::Arc;

use http::HeaderValue;
use http::header::HeaderName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use uuid::Uuid;

use super::CONTEXT;
use super::auth::now;
use super::identity::Identity;

/// Another name, or none, makes a server ask for a certificate during the handshake.
const NAME: &str = "rfc-client";

/// How such a server is reached.
#[derive(Clone)]
pub(crate) struct Dial {
    tls: TlsConnector,
    identity: Arc<Identity>,
}

impl Dial {
    pub(crate) fn new(identity: Arc<Identity>) -> io::Result<Self> {
        Ok(Self { tls: anybody(&[b"h2"])?, identity })
    }

    /// TLS over an open connection.
    pub(crate) async fn secure(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        self.tls.connect(name, stream).await
    }

    /// Who calls, in place of whatever somebody else said.
    pub(crate) fn sign(&self, headers: &mut http::HeaderMap) {
        let name = HeaderName::from_static(CONTEXT);
        headers.remove(&name);
        let context = self.identity.context(&Uuid::new_v4().to_string(), now());
        if let Ok(value) = HeaderValue::try_from(context) {
            headers.insert(name, value);
        }
    }
}

/// TLS to whoever is there, to speak one of these protocols, or what needs no name.
pub(super) fn anybody(protocols: &[&[u8]]) -> io::Result<TlsConnector> {
    let provider = Arc::new(default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let anyone = Arc::new(Anyone(provider));
    let mut config =
        config.dangerous().with_custom_certificate_verifier(anyone).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Believes any certificate: all servers share one whose key is public. It keeps
/// listeners out, and says nothing about who is there.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial").field("identity", &self.identity).finish_non_exhaustive()
    }
}
