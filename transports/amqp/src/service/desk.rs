//! Answers an instance's calls: finds the endpoint, makes room, asks who it is for, and
//! counts.

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;
use registry_api::ErrorKind;
use registry_api::call::{Call, CallError, CallErrorKind, Handler, Reply};

use super::about::About;
use super::capacity::Capacity;
use super::endpoint::{Asked, Endpoint};
use super::rule::{Rule, Verdict};
use super::session::{Login, User};
use super::wall::Stopwatch;
use crate::error::{ErrorType, PlatformError};
use crate::facts::header;
use crate::names::Prefix;

/// Callers who do not say who they are.
const UNKNOWN: &str = "unknown";

pub(super) struct Desk {
    pub(super) about: Arc<About>,
    pub(super) endpoints: HashMap<String, Endpoint>,
    pub(super) capacity: Arc<Capacity>,
    pub(super) login: Option<Login>,
    pub(super) trusts_authorised: bool,
    pub(super) prefix: Prefix,
}

#[async_trait]
impl Handler for Desk {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        let Some(endpoint) = self.endpoints.get(&call.method) else {
            let why = format!("the service has no endpoint {:?}", call.method);
            return Err(CallError::new(CallErrorKind::UnknownMethod, why));
        };
        // It counts, too, where the caller gives up or the handler panics.
        let counting = Counting { desk: self, endpoint, begun: Stopwatch::start(), failed: true };
        counting.end(self.answer(endpoint, call).await)
    }
}

impl Desk {
    async fn answer(&self, endpoint: &Endpoint, mut call: Call) -> Result<Reply, CallError> {
        let from = call.header(header::FROM).filter(|from| !from.is_empty()).unwrap_or(UNKNOWN);
        let Some(_room) = self.capacity.enter(from, endpoint.mean).await else {
            let why = format!("{from} has too many calls here");
            return Err(CallError::new(ErrorKind::Overloaded.into(), why));
        };
        let user = self.admit(&endpoint.rule, &call).await?;
        let request = std::mem::take(&mut call.payload);
        let content_type = call.content_type.clone();
        let answered = endpoint.run(Asked { request, user, call }).await?;
        let mut reply = Reply::new(answered);
        reply.content_type = content_type;
        Ok(reply)
    }

    /// Who it is for, if they may.
    async fn admit(&self, rule: &Rule, call: &Call) -> Result<Option<Arc<User>>, PlatformError> {
        if *rule == Rule::Open {
            return Ok(None);
        }
        let session = call.header(header::SESSION).filter(|session| !session.is_empty());
        let user = match (&self.login, session) {
            (Some(login), Some(session)) => login.user(session).await,
            _ => None,
        };
        let says_so = call.header(header::AUTHORISED) == Some("1");
        let verdict = rule.judge(user.as_deref(), self.trusts_authorised && says_so);
        let (name, why) = match verdict {
            Verdict::Allowed => return Ok(user),
            Verdict::BadRole => ("badrole", "the role for this endpoint is missing"),
            Verdict::NotSignedIn => ("notsignedin", "this endpoint is for who is signed in"),
        };
        let tried = session.is_some() && user.is_none();
        let number = if tried || verdict == Verdict::NotSignedIn { "201" } else { "5" };
        let code = self.prefix.name(&format!("kernel.auth.{name}"));
        let error = PlatformError::new(ErrorType::Forbidden, code, why);
        Err(error.with_context([number.to_owned()]))
    }
}

/// A call under way, until it has ended.
struct Counting<'a> {
    desk: &'a Desk,
    endpoint: &'a Endpoint,
    begun: Stopwatch,
    failed: bool,
}

impl Counting<'_> {
    fn end(mut self, outcome: Result<Reply, CallError>) -> Result<Reply, CallError> {
        self.failed = outcome.is_err();
        outcome
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.desk.about.count(&self.endpoint.name, self.failed, self.begun.elapsed());
    }
}

impl Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("instance", &self.about.instance).finish_non_exhaustive()
    }
}
