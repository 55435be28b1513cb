//! Who asks over HTTP: session, trace and address, for whom the call is told.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use portolan::call::Headers;
use portolan::h2::{Login, header};
use uuid::Uuid;

use super::Remote;

/// What a request says of who asks.
pub(super) struct Asker {
    session: String,
    trace: Option<String>,
    remote: Option<String>,
}

/// Names that hold a session and are for nobody else.
const SESSIONS: [&str; 2] = ["session_id", "api_token"];
/// The longest that is believed.
const MAX: usize = 255;
const TRACE: &str = "x-h-trace";
const TRACE_ID: &str = "x-h-traceid";

impl Asker {
    /// By the headers.
    pub(super) fn of(head: &Parts) -> Self {
        let text = |name: &str| text(&head.headers, name);
        let token = text("authorization").and_then(|value| value.strip_prefix("token "));
        let session = text("x-api-token").or(token).unwrap_or_default();
        let trace = text(TRACE_ID).map(str::to_owned);
        let trace = trace.or_else(|| (text(TRACE)? == "1").then(|| Uuid::new_v4().to_string()));
        let remote = head.extensions.get::<Remote>().map(|remote| remote.0.to_string());
        Self { session: session.to_owned(), trace, remote }
    }

    /// Takes what says who asks out of a query or a form.
    pub(super) fn read(&mut self, name: &str, value: &str) -> bool {
        let is_session = SESSIONS.contains(&name);
        if is_session && self.session.is_empty() && value.len() <= MAX {
            value.clone_into(&mut self.session);
        }
        is_session
    }

    /// Whether the session is an `ADMIN`'s.
    pub(super) async fn is_admin(&self, login: Option<&Login>) -> bool {
        match login {
            Some(login) if !self.session.is_empty() => {
                login.user(&self.session).await.is_some_and(|user| user.has_role("ADMIN"))
            }
            _ => false,
        }
    }

    /// As headers of the call.
    pub(super) fn tell(&self, headers: &mut Headers) {
        let kept = self.trace.as_ref().map(|_| "1");
        let facts = [
            (header::SESSION, Some(&*self.session).filter(|session| !session.is_empty())),
            (header::TRACE, self.trace.as_deref()),
            (header::TRACE_KEPT, kept),
            (header::REMOTE, self.remote.as_deref()),
        ];
        let set = facts.into_iter().filter_map(|(name, value)| Some((name, value?)));
        headers.extend(set.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    /// Says which trace the answer is in.
    pub(super) fn echo(&self, headers: &mut HeaderMap) {
        let trace = self.trace.as_deref().and_then(|trace| HeaderValue::from_str(trace).ok());
        if let Some(trace) = trace {
            headers.insert(TRACE_ID, trace);
        }
    }
}

/// A header, where it is a text that is not too long.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?;
    (!value.is_empty() && value.len() <= MAX).then_some(value)
}
