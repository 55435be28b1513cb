//! H2's messages: what stands in the properties and headers of each kind. The one
//! place that translates between them and calls.
//!
//! Facts: HailoOSS `platform` at 39e911a, `raven/publication.go`, `client/`,
//! `server/request.go`. All header values are long strings; a value of another type
//! counts as empty. H2 has no header for a deadline or for free facts: ours begin
//! with `portolan-`, and peers pass over them.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use registry_api::call::Headers;

use crate::content::Content;
use crate::facts::Facts;

const TIMEOUT: &str = "portolan-timeout-ms";
const FACT: &str = "portolan-h-";

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) message_id: String,
    pub(crate) reply_to: String,
    pub(crate) service: String,
    pub(crate) endpoint: String,
    pub(crate) facts: Facts,
    /// How long its sender waits, if it says so.
    pub(crate) timeout: Option<Duration>,
    pub(crate) headers: Headers,
    /// None for a content type that is not known.
    pub(crate) content: Option<Content>,
}

/// What a message at an instance's queue is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    /// A request of this id is to be given up; an extension of ours.
    Cancel(String),
    /// Somebody asks whether we are there; the answer goes to this queue.
    Ping(String),
    /// Something for all who read a topic, which stands where an endpoint does.
    Publication(Box<Request>),
    /// An answer, which an instance asks nobody for: two instances must not answer
    /// each other for ever.
    Answer,
    Request(Box<Request>),
}

/// What a message at a caller's queue is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The request it answers.
    pub(crate) to: String,
    pub(crate) is_error: bool,
    pub(crate) content: Option<Content>,
    pub(crate) headers: Headers,
}

/// Message types.
const REQUEST: &str = "request";
const REPLY: &str = "reply";
const ERROR: &str = "error";
const HEARTBEAT: &str = "heartbeat";
const PUBLICATION: &str = "publication";
const CANCEL: &str = "portolan-cancel";

impl Request {
    /// As properties. All ten headers are there; an unset one is empty.
    pub(crate) fn properties(&self) -> BasicProperties {
        let facts = &self.facts;
        let flag = |on: bool| if on { "1" } else { "0" };
        let mut table = FieldTable::default();
        for (name, value) in [
            ("messageType", REQUEST),
            ("service", &self.service),
            ("endpoint", &self.endpoint),
            ("traceID", &facts.trace_id),
            ("traceShouldPersist", flag(facts.trace_persist)),
            ("sessionID", &facts.session_id),
            ("parentMessageID", &facts.parent_message_id),
            ("from", &facts.from),
            ("remoteAddr", &facts.remote_addr),
            ("authorised", flag(facts.authorised)),
        ] {
            put(&mut table, name, value);
        }
        if let Some(timeout) = self.timeout {
            put(&mut table, TIMEOUT, &timeout.as_millis().to_string());
        }
        put_facts(&mut table, &self.headers);
        transient(self.content.unwrap_or_default().as_str())
            .with_message_id(self.message_id.as_str().into())
            .with_reply_to(self.reply_to.as_str().into())
            .with_headers(table)
    }
}

impl Inbound {
    /// What a message is, as H2's server tells.
    pub(crate) fn read(properties: &BasicProperties, body: &[u8]) -> Self {
        let table = properties.headers().as_ref();
        let header = |name: &str| table.map_or(String::new(), |table| get(table, name));
        let text = |value: &Option<lapin::types::ShortString>| {
            value.as_ref().map_or(String::new(), |value| value.as_str().to_owned())
        };
        let reply_to = text(properties.reply_to());
        match &*header("messageType") {
            REPLY | ERROR => return Self::Answer,
            HEARTBEAT if body == b"PONG" => return Self::Answer,
            HEARTBEAT => return Self::Ping(reply_to),
            CANCEL => return Self::Cancel(text(properties.correlation_id())),
            _ if header(HEARTBEAT) == "ping" || body == b"PING" => return Self::Ping(reply_to),
            _ => {}
        }
        let topic = header("topic");
        let (is_publication, endpoint) = match &*topic {
            "" => (false, header("endpoint")),
            _ => (true, topic),
        };
        let content = Content::parse(&text(properties.content_type()));
        let request = Box::new(Request {
            message_id: text(properties.message_id()),
            reply_to,
            service: header("service"),
            endpoint,
            facts: Facts {
                trace_id: header("traceID"),
                trace_persist: header("traceShouldPersist") == "1",
                session_id: header("sessionID"),
                parent_message_id: header("parentMessageID"),
                from: header("from"),
                remote_addr: header("remoteAddr"),
                authorised: header("authorised") == "1",
            },
            timeout: header(TIMEOUT).parse().ok().map(Duration::from_millis),
            headers: table.map(facts_of).unwrap_or_default(),
            content,
        });
        match is_publication {
            true => Self::Publication(request),
            false => Self::Request(request),
        }
    }
}

impl Answer {
    /// The properties of an answer by the instance `from`.
    pub(crate) fn properties(&self, from: &str) -> BasicProperties {
        let mut table = FieldTable::default();
        put(&mut table, "messageType", if self.is_error { ERROR } else { REPLY });
        put_facts(&mut table, &self.headers);
        transient(self.content.unwrap_or_default().as_str())
            .with_correlation_id(self.to.as_str().into())
            .with_reply_to(from.into())
            .with_headers(table)
    }

    /// The answer in a message; none where it does not say what it answers.
    pub(crate) fn read(properties: &BasicProperties) -> Option<Self> {
        let to = properties.correlation_id().as_ref()?.as_str().to_owned();
        let table = properties.headers().as_ref();
        let content_type = properties.content_type().as_ref();
        Some(Self {
            to,
            is_error: table.is_some_and(|table| get(table, "messageType") == ERROR),
            content: content_type.and_then(|text| Content::parse(text.as_str())),
            headers: table.map(facts_of).unwrap_or_default(),
        })
    }
}

/// The properties of a publication on a topic.
pub(crate) fn publication(
    topic: &str,
    session: &str,
    reply_to: &str,
    content: Content,
) -> BasicProperties {
    let mut table = FieldTable::default();
    put(&mut table, "messageType", PUBLICATION);
    put(&mut table, "topic", topic);
    put(&mut table, "sessionID", session);
    let id = uuid::Uuid::new_v4().to_string();
    transient(content.as_str())
        .with_message_id(id.as_str().into())
        .with_reply_to(reply_to.into())
        .with_headers(table)
}

/// The properties of the answer to a ping: discovery knows us by `reply_to`.
pub(crate) fn pong(instance: &str) -> BasicProperties {
    let mut table = FieldTable::default();
    put(&mut table, "messageType", HEARTBEAT);
    transient("text/plain").with_reply_to(instance.into()).with_headers(table)
}

/// The properties of a ping, before what else waits.
pub(crate) fn ping(reply_to: &str) -> BasicProperties {
    let mut table = FieldTable::default();
    put(&mut table, "messageType", HEARTBEAT);
    put(&mut table, HEARTBEAT, "ping");
    transient("text/plain").with_priority(5).with_reply_to(reply_to.into()).with_headers(table)
}

/// The instance that answers a ping; none for what is no such answer.
pub(crate) fn pong_from(properties: &BasicProperties) -> Option<String> {
    let table = properties.headers().as_ref()?;
    let from = properties.reply_to().as_ref()?.as_str();
    (get(table, "messageType") == HEARTBEAT).then(|| from.to_owned())
}

/// The properties of a message that gives a request up.
pub(crate) fn cancel(message_id: &str) -> BasicProperties {
    let mut table = FieldTable::default();
    put(&mut table, "messageType", CANCEL);
    transient("text/plain").with_correlation_id(message_id.into()).with_headers(table)
}

fn transient(content_type: &str) -> BasicProperties {
    BasicProperties::default().with_content_type(content_type.into()).with_delivery_mode(1)
}

fn put(table: &mut FieldTable, name: &str, value: &str) {
    table.insert(name.into(), AMQPValue::LongString(value.into()));
}

/// A header's text; empty where it is not there, or is no text.
fn get(table: &FieldTable, name: &str) -> String {
    match table.inner().get(name) {
        Some(AMQPValue::LongString(text)) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        _ => String::new(),
    }
}

fn put_facts(table: &mut FieldTable, headers: &Headers) {
    for (name, value) in headers {
        let name = format!("{FACT}{name}");
        // A name has 255 bytes at most; what does not fit is not a header of ours.
        if name.len() <= 255 {
            put(table, &name, value);
        }
    }
}

fn facts_of(table: &FieldTable) -> Headers {
    let ours = table.inner().keys().filter_map(|name| name.as_str().strip_prefix(FACT));
    ours.map(|name| (name.to_owned(), get(table, &format!("{FACT}{name}")))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            message_id: "m".to_owned(),
            reply_to: "client-1".to_owned(),
            service: "com.hailocab.service.hello".to_owned(),
            endpoint: "hello".to_owned(),
            facts: Facts {
                trace_id: "t".to_owned(),
                session_id: "s".to_owned(),
                from: "f".to_owned(),
                authorised: true,
                ..Facts::default()
            },
            timeout: Some(Duration::from_millis(700)),
            headers: vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "ü".to_owned())],
            content: Some(Content::Json),
        }
    }

    #[test]
    fn requests_and_answers_come_back_with_all_headers() {
        let request = request();
        let properties = request.properties();
        let table = properties.headers().clone().unwrap();
        for name in [
            "messageType",
            "service",
            "endpoint",
            "traceID",
            "traceShouldPersist",
            "sessionID",
            "parentMessageID",
            "from",
            "remoteAddr",
            "authorised",
        ] {
            let value = table.inner().get(name);
            assert!(matches!(value, Some(AMQPValue::LongString(_))), "{name}: {value:?}");
        }
        let back = Inbound::read(&properties, b"{}");
        assert_eq!(back, Inbound::Request(Box::new(request)));
        let answer = Answer {
            to: "m".to_owned(),
            is_error: true,
            content: Some(Content::Protobuf),
            headers: vec![("a".to_owned(), "2".to_owned())],
        };
        let properties = answer.properties("server-x");
        assert_eq!(Answer::read(&properties), Some(answer));
        assert_eq!(properties.reply_to().as_ref().map(|to| to.as_str()), Some("server-x"));
        assert_eq!(Answer::read(&BasicProperties::default()), None);
    }

    #[test]
    fn messages_are_told_apart_as_h2_does_it() {
        let with = |name: &str, value: &str| {
            let mut table = FieldTable::default();
            put(&mut table, name, value);
            BasicProperties::default().with_reply_to("discovery-1".into()).with_headers(table)
        };
        let ping = Inbound::Ping("discovery-1".to_owned());
        assert_eq!(Inbound::read(&with("messageType", "heartbeat"), b""), ping);
        assert_eq!(Inbound::read(&with("heartbeat", "ping"), b""), ping);
        assert_eq!(Inbound::read(&with("x", "y"), b"PING"), ping);
        for kind in [REPLY, ERROR] {
            assert_eq!(Inbound::read(&with("messageType", kind), b"PING"), Inbound::Answer);
        }
        assert_eq!(Inbound::read(&pong("server-x"), b"PONG"), Inbound::Answer);
        assert_eq!(Inbound::read(&super::ping("discovery-1"), b"PING"), ping);
        assert_eq!(pong_from(&pong("server-x")).as_deref(), Some("server-x"));
        assert_eq!(pong_from(&with("messageType", "reply")), None);
        let Inbound::Publication(told) =
            Inbound::read(&publication("t", "s", "client-1", Content::Json), b"")
        else {
            panic!("no publication")
        };
        assert_eq!((&*told.endpoint, &*told.facts.session_id), ("t", "s"));
        assert!(matches!(Inbound::read(&with("topic", "t"), b""), Inbound::Publication(_)));
        let cancelled = Inbound::read(&cancel("m"), b"");
        assert_eq!(cancelled, Inbound::Cancel("m".to_owned()));
        // A value of another type counts as empty, and nothing at all is a request.
        let mut table = FieldTable::default();
        table.insert("service".into(), AMQPValue::LongInt(7));
        table.insert("topic".into(), AMQPValue::Boolean(true));
        let odd = Inbound::read(&BasicProperties::default().with_headers(table), b"\xff");
        assert_eq!(odd, Inbound::Request(Box::default()));
        assert_eq!(Inbound::read(&BasicProperties::default(), b""), odd);
    }
}
