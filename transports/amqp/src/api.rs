//! What H2's thin API asks of a service for a path of HTTP, and what it is answered.
//!
//! Facts: HailoOSS `api-proxy` at 358f329, `proto/api`. Bodies are texts there; here
//! they are bytes, which look the same on the wire.

use bytes::Bytes;
use prost::Message;

use crate::names::Prefix;

/// A request over HTTP.
#[derive(Clone, PartialEq, Message)]
pub struct ApiRequest {
    /// Its path.
    #[prost(string, required, tag = "1")]
    pub path: String,
    /// Its method, in capitals.
    #[prost(string, required, tag = "2")]
    pub verb: String,
    /// What its query says, each name once.
    #[prost(message, repeated, tag = "3")]
    pub get: Vec<Pair>,
    /// What its form says, each name once.
    #[prost(message, repeated, tag = "4")]
    pub post: Vec<Pair>,
    /// Its headers, as `Name: value`.
    #[prost(string, repeated, tag = "5")]
    pub header: Vec<String>,
    /// Its body, where that is no form.
    #[prost(bytes = "vec", optional, tag = "6")]
    pub body: Option<Vec<u8>>,
}

impl ApiRequest {
    /// As the argument of a call.
    pub fn write(&self) -> Bytes {
        self.encode_to_vec().into()
    }
}

/// A name and a value.
#[derive(Clone, PartialEq, Message)]
pub struct Pair {
    /// The name.
    #[prost(string, required, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(string, required, tag = "2")]
    pub value: String,
}

/// The answer over HTTP.
#[derive(Clone, PartialEq, Message)]
pub struct ApiResponse {
    /// Its status.
    #[prost(int32, required, tag = "1")]
    pub status_code: i32,
    /// Its headers, as `Name: value`.
    #[prost(string, repeated, tag = "2")]
    pub header: Vec<String>,
    /// Its body.
    #[prost(bytes = "vec", required, tag = "3")]
    pub body: Vec<u8>,
}

impl ApiResponse {
    /// The result of a call, if it is one.
    pub fn read(payload: &[u8]) -> Option<Self> {
        Self::decode(payload).ok()
    }
}

/// The content type of an [`ApiResponse`] that names none.
pub const API_CONTENT_TYPE: &str = "application/json; charset=utf-8";

impl Prefix {
    /// The service and the endpoint behind a path of the thin API: `/v1/driver/foo` is
    /// `PREFIX.api.v1.driver` and `foo`. None for a path that has not both.
    pub fn api(&self, path: &str) -> Option<(String, String)> {
        let mut parts = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let endpoint = parts.pop()?;
        (!parts.is_empty())
            .then(|| (self.name(&format!("api.{}", parts.join("."))), endpoint.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_service_and_an_endpoint() {
        let api = |path| Prefix::default().api(path);
        let foo = Some(("com.hailocab.api.v1.driver".to_owned(), "foo".to_owned()));
        for path in
            ["/v1/driver/foo", "//v1/./driver//foo/", "/v1/x/../driver/foo", "v1/driver/foo"]
        {
            assert_eq!(api(path), foo, "{path}");
        }
        let two = Some(("com.hailocab.api.V1".to_owned(), "Foo".to_owned()));
        assert_eq!(api("/V1/Foo"), two);
        for none in ["", "/", "/x", "/..", "/x/..", "/../x"] {
            assert_eq!(api(none), None, "{none}");
        }
    }

    #[test]
    fn fields_have_the_numbers_of_the_original() {
        let pair = |key: &str, value: &str| Pair { key: key.to_owned(), value: value.to_owned() };
        let request = ApiRequest {
            path: "/a/b".to_owned(),
            verb: "GET".to_owned(),
            get: vec![pair("k", "v")],
            post: vec![pair("p", "")],
            header: vec!["X-A: b".to_owned()],
            body: Some(b"raw".to_vec()),
        };
        let bytes = b"\n\x04/a/b\x12\x03GET\x1a\x06\n\x01k\x12\x01v\"\x05\n\x01p\x12\x00*\x06X-A: b2\x03raw";
        assert_eq!(&request.write()[..], bytes);
        let response = ApiResponse::read(b"\x08\xc9\x01\x12\x04A: b\x1a\x02{}").unwrap();
        assert_eq!((response.status_code, &*response.body), (201, &b"{}"[..]));
        assert_eq!(response.header, ["A: b"]);
    }
}
