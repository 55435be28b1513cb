//! What a service can be asked.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use prost::Message;
use registry_api::call::Call;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::rule::Rule;
use super::session::User;
use crate::content::Content;
use crate::discovery::model;
use crate::error::{ErrorType, PlatformError};
use crate::json;

/// A request, as a handler gets it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Asked<T> {
    /// What is asked.
    pub request: T,
    /// Whose session it is in, where that was verified.
    pub user: Option<Arc<User>>,
    /// The call: its headers say which service asks, and in which trace; see
    /// [`header`](crate::header). Its payload is in `request`.
    pub call: Call,
}

/// An endpoint of a service: a name, a handler, and how fast it promises to be.
///
/// Whoever may call it is of the role `ADMIN`, unless another rule is given.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) name: String,
    pub(super) mean: Duration,
    pub(super) upper95: Duration,
    pub(super) rule: Rule,
    /// Whether publications on the topic of its name come here.
    pub(super) is_subscriber: bool,
    run: Arc<Run>,
}

type Run = dyn Fn(Asked<Bytes>) -> BoxFuture<'static, Result<Bytes, PlatformError>> + Send + Sync;

impl Endpoint {
    /// An endpoint for protobuf and JSON, by the content type of each request; what
    /// messages need for JSON is said in [`json`](crate::json).
    pub fn new<Q, A, F, Answer>(name: impl Into<String>, handler: F) -> Self
    where
        Q: Message + Default + DeserializeOwned + 'static,
        A: Message + Serialize + 'static,
        F: Fn(Asked<Q>) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Result<A, PlatformError>> + Send + 'static,
    {
        Self::with(name, handler, read_either, write_either)
    }

    /// An endpoint for protobuf; a request in JSON is answered with an error.
    pub fn protobuf<Q, A, F, Answer>(name: impl Into<String>, handler: F) -> Self
    where
        Q: Message + Default + 'static,
        A: Message + 'static,
        F: Fn(Asked<Q>) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Result<A, PlatformError>> + Send + 'static,
    {
        let write = |content, answer: &A| match content {
            Content::Protobuf => Ok(answer.encode_to_vec()),
            Content::Json => Err("the endpoint has no JSON".to_owned()),
        };
        Self::with(name, handler, |content, body| read_protobuf(content, body), write)
    }

    /// A reader of a topic: everything that is published there comes to every instance,
    /// at most once, and nobody is answered. Publications come from whoever can publish,
    /// without a session unless they say so: see [`with_rule`](Self::with_rule).
    pub fn subscriber<Q, F, Answer>(topic: impl Into<String>, handler: F) -> Self
    where
        Q: Message + Default + DeserializeOwned + 'static,
        F: Fn(Asked<Q>) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Result<(), PlatformError>> + Send + 'static,
    {
        let write = |_, (): &()| Ok(Vec::new());
        Self { is_subscriber: true, ..Self::with(topic, handler, read_either, write) }
    }

    /// Sets how fast it promises to be, which callers wait by: the mean, and the time
    /// that 95 of a hundred calls take at most. Both are sent in milliseconds.
    #[must_use]
    pub fn with_sla(mut self, mean: Duration, upper95: Duration) -> Self {
        (self.mean, self.upper95) = (mean, upper95);
        self
    }

    /// Sets who may call it.
    #[must_use]
    pub fn with_rule(mut self, rule: Rule) -> Self {
        self.rule = rule;
        self
    }

    fn with<Q, A, F, Answer>(
        name: impl Into<String>,
        handler: F,
        read: fn(Content, &[u8]) -> Result<Q, String>,
        write: fn(Content, &A) -> Result<Vec<u8>, String>,
    ) -> Self
    where
        Q: Send + 'static,
        A: Send + 'static,
        F: Fn(Asked<Q>) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Result<A, PlatformError>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let run = move |asked: Asked<Bytes>| {
            let handler = Arc::clone(&handler);
            async move {
                let content = Content::parse(&asked.call.content_type).unwrap_or_default();
                let scope = format!("{}.{}", asked.call.service, asked.call.method);
                let fails = |what: &str, why: String| {
                    let code = format!("{scope}.{what}");
                    PlatformError::new(ErrorType::InternalServerError, code, why)
                };
                let request =
                    read(content, &asked.request).map_err(|why| fails("unmarshal", why))?;
                let answer = handler(Asked { request, user: asked.user, call: asked.call }).await?;
                let body = write(content, &answer).map_err(|why| fails("marshal", why))?;
                Ok(body.into())
            }
            .boxed()
        };
        Self {
            name: name.into(),
            mean: MEAN,
            upper95: UPPER95,
            rule: Rule::default(),
            is_subscriber: false,
            run: Arc::new(run),
        }
    }

    /// As discovery is told of it.
    pub(super) fn told(&self) -> model::Endpoint {
        let ms = |time: Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        model::Endpoint {
            name: self.name.clone(),
            mean: ms(self.mean),
            upper95: ms(self.upper95),
            subscribe: Some(if self.is_subscriber { self.name.clone() } else { String::new() }),
        }
    }

    pub(super) async fn run(&self, asked: Asked<Bytes>) -> Result<Bytes, PlatformError> {
        (self.run)(asked).await
    }
}

/// Where nobody says: what H2's callers assume of an endpoint that they do not know.
const MEAN: Duration = Duration::from_millis(500);
const UPPER95: Duration = Duration::from_millis(2_000);

fn read_either<Q: Message + Default + DeserializeOwned>(
    content: Content,
    body: &[u8],
) -> Result<Q, String> {
    match content {
        Content::Protobuf => read_protobuf(content, body),
        Content::Json => json::read(body),
    }
}

fn read_protobuf<Q: Message + Default>(content: Content, body: &[u8]) -> Result<Q, String> {
    match content {
        Content::Protobuf => Q::decode(body).map_err(|error| error.to_string()),
        Content::Json => Err("the endpoint has no JSON".to_owned()),
    }
}

fn write_either<A: Message + Serialize>(content: Content, answer: &A) -> Result<Vec<u8>, String> {
    match content {
        Content::Protobuf => Ok(answer.encode_to_vec()),
        Content::Json => json::write(answer),
    }
}

impl Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Endpoint");
        shown.field("name", &self.name).field("rule", &self.rule).finish_non_exhaustive()
    }
}
