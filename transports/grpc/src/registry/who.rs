//! Who asks: the metadata that comes with every question.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use registry_api::access::Credential;
use registry_api::{Error, Namespace, Result};

/// A credential, and the namespace that is meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Who {
    pub(crate) namespace: Namespace,
    pub(crate) credential: Credential,
}

const NAMESPACE: HeaderName = HeaderName::from_static("portolan-namespace");
/// What a header cannot hold as it is, and the sign of the encoding itself.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%').add(b' ');

impl Who {
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self> {
        let namespace = match headers.get(NAMESPACE) {
            Some(value) => {
                let text = value.to_str().ok();
                let text = text.and_then(|text| percent_decode_str(text).decode_utf8().ok());
                let rule = "must be percent-encoded UTF-8";
                Namespace::parse(&text.ok_or_else(|| Error::invalid("namespace", rule))?)?
            }
            None => Namespace::default(),
        };
        Ok(Self { namespace, credential: bearer(headers) })
    }

    /// The metadata that says so. Errors: a credential that no header can hold.
    pub(crate) fn write(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        if self.namespace != Namespace::default() {
            let text = utf8_percent_encode(self.namespace.as_str(), ENCODED).to_string();
            let value = HeaderValue::try_from(text);
            let value = value.map_err(|_| Error::invalid("namespace", "cannot be sent"))?;
            headers.insert(NAMESPACE, value);
        }
        if !self.credential.is_none() {
            let value = HeaderValue::try_from(format!("Bearer {}", self.credential.expose()));
            let rule = "must have no control characters";
            let mut value = value.map_err(|_| Error::invalid("api key", rule))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(headers)
    }
}

/// What `authorization: Bearer …` shows.
pub(crate) fn bearer(headers: &HeaderMap) -> Credential {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = value.and_then(|value| value.split_once(' '));
    match key {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => Credential::key(key.trim()),
        _ => Credential::none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_arrives_as_it_was_said() {
        let who = Who {
            namespace: Namespace::parse("läden%2F1").unwrap(),
            credential: Credential::key("reg_key_1"),
        };
        let read = Who::read(&who.write().unwrap()).unwrap();
        assert_eq!(read.namespace, who.namespace);
        assert_eq!(read.credential.expose(), "reg_key_1");
        let nobody = Who::read(&HeaderMap::new()).unwrap();
        assert!(nobody.credential.is_none() && nobody.namespace == Namespace::default());
        let broken = Who { credential: Credential::key("a\nb"), ..Who::default() };
        assert!(!format!("{:?}", broken.write().unwrap_err()).contains("a\nb"));
    }
}
