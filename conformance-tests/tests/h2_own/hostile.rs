//! Messages that nobody should send.

use std::sync::Arc;
use std::time::Duration;

use conformance_tests::own::{Outcome, check};
use conformance_tests::raw_amqp::{RawAmqp, nested_table, properties};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use portolan::call::{Call, Caller, Peer as To};
use portolan::h2::{AmqpCaller, Broker, CallerOptions, Content, ErrorType, PlatformError, Sending};
use portolan::{Address, ServiceName};

use super::peer::{DIRECT, Peer, answers, header};
use super::{Echo, Instance, Place, url};

const SILENCE: Duration = Duration::from_millis(400);

/// Answers that went to an instance would be answered in turn, for ever.
pub(super) async fn instances_never_answer_each_other(place: &Place) -> Result<(), Outcome> {
    let broker = place.broker()?;
    let service = "com.hailocab.service.loops";
    let one = Instance::serve(&broker, service, Echo::default()).await?;
    let other = Instance::serve(&broker, service, Echo::default()).await?;
    // Hears what goes to the other one.
    let mut ear = Peer::open(&broker, "client-loops-ear", &other.queue()).await?;
    let peer = Peer::open(&broker, "client-loops", "client-loops").await?;
    let to_other = |id| peer.properties(service, id).with_reply_to(other.queue().into());
    peer.publish(DIRECT, &one.queue(), to_other("request"), b"x").await?;
    let mut ping = FieldTable::default();
    ping.insert("messageType".into(), AMQPValue::LongString("heartbeat".into()));
    let ping = to_other("ping").with_headers(ping);
    peer.publish(DIRECT, &one.queue(), ping, b"PING").await?;
    let heard = ear.collect(SILENCE).await.len();
    check(heard == 0, format_args!("{heard} messages went to an instance"))?;
    // Answers and pongs that come to one are not requests.
    for (kind, body) in [("reply", &b"x"[..]), ("error", b"x"), ("heartbeat", b"PONG")] {
        let mut table = FieldTable::default();
        table.insert("messageType".into(), AMQPValue::LongString(kind.into()));
        let properties = peer.properties(service, "answer").with_headers(table);
        peer.publish(DIRECT, &one.queue(), properties, body).await?;
    }
    let mut peer = peer;
    let answered = peer.collect(SILENCE).await.len();
    check(answered == 0, format_args!("{answered} answers to answers"))?;
    check(one.echo.ran().is_empty(), "it ran what nobody may ask for")
}

pub(super) async fn junk_is_answered_or_dropped_and_hurts_nobody(
    place: &Place,
) -> Result<(), Outcome> {
    let broker = place.broker()?;
    let service = "com.hailocab.service.junk";
    let instance = Instance::serve(&broker, service, Echo::default()).await?;
    let mut peer = Peer::open(&broker, "client-junk", "client-junk").await?;
    let queue = instance.queue();
    let odd = peer.properties(service, "odd").with_content_type("application/xml".into());
    peer.publish(DIRECT, &queue, odd, b"<a/>").await?;
    let large = peer.properties(service, "large");
    peer.publish(DIRECT, &queue, large, &vec![7; (1 << 20) + 1]).await?;
    // Headers of other types, no properties at all, a reply that may go nowhere.
    let mut table = FieldTable::default();
    for name in ["messageType", "service", "endpoint", "portolan-timeout-ms", "topic"] {
        table.insert(name.into(), AMQPValue::LongInt(-1));
    }
    let typed = peer.properties(service, "typed").with_headers(table);
    peer.publish(DIRECT, &queue, typed, b"typed").await?;
    peer.publish(DIRECT, &queue, BasicProperties::default(), b"\xff\x00").await?;
    let nowhere = peer.properties(service, "nowhere").with_reply_to("payments".into());
    peer.publish(DIRECT, &queue, nowhere, b"nowhere").await?;
    let mut strange = peer.properties("com.hailocab.service.another", "another");
    peer.publish(DIRECT, &queue, strange.clone(), b"another").await?;
    strange = peer.properties(service, "good");
    peer.publish(DIRECT, &queue, strange, b"good").await?;

    let mut seen: Vec<_> =
        peer.collect(SILENCE).await.iter().map(|d| (answers(d), told(d))).collect();
    seen.sort();
    let expected = [
        ("another", "NotFound com.hailocab.service.junk.echo.portolan.wronginstance"),
        ("good", "reply good"),
        ("large", "BadRequest com.hailocab.service.junk.echo.portolan.invalidargument"),
        ("odd", "InternalServerError com.hailocab.service.junk.echo.unmarshal"),
        ("typed", "reply typed"),
    ];
    let expected = expected.map(|(id, what)| (id.to_owned(), what.to_owned()));
    check(seen == expected, format_args!("{seen:?}"))
}

pub(super) async fn a_request_that_comes_again_is_answered_and_not_run(
    place: &Place,
) -> Result<(), Outcome> {
    let broker = place.broker()?;
    let service = "com.hailocab.service.again";
    let echo = Echo::slow(Duration::from_millis(100));
    let instance = Instance::serve(&broker, service, echo).await?;
    let mut peer = Peer::open(&broker, "client-again", "client-again").await?;
    // Twice while it runs, and once when it has.
    peer.request(service, "r").await?;
    peer.request(service, "r").await?;
    let first = peer.collect(SILENCE).await.len();
    check(first == 1, format_args!("{first} answers while it ran"))?;
    peer.request(service, "r").await?;
    let again = peer.collect(SILENCE).await;
    let same = again.iter().map(|d| (answers(d), d.data.clone())).collect::<Vec<_>>();
    check(same == [("r".to_owned(), b"r".to_vec())], format_args!("{same:?}"))?;
    // Without an id, each is another one.
    for _ in 0..2 {
        let nameless = peer.properties(service, "");
        peer.publish(DIRECT, &instance.queue(), nameless, b"n").await?;
    }
    let nameless = peer.collect(SILENCE).await.len();
    check(nameless == 2, format_args!("{nameless} answers"))?;
    let ran = instance.echo.ran();
    check(ran == ["r", "n", "n"], format_args!("{ran:?}"))
}

/// A client that reads headers by recursion dies of some, and of others it loses its
/// connection, with the calls of everybody on it.
pub(super) async fn headers_that_cannot_be_read_hurt_nobody(place: &Place) -> Result<(), Outcome> {
    let broker = place.broker()?;
    let service = "com.hailocab.service.deep";
    let echo = Echo::slow(Duration::from_millis(500));
    let instance = Instance::serve(&broker, service, echo).await?;
    let mut peer = Peer::open(&broker, "client-deep", "client-deep").await?;
    peer.request(service, "under way").await?;
    let (address, queue) = (broker.address(), instance.queue());
    let published = tokio::task::spawn_blocking(move || {
        let odd_headers: [&[u8]; 5] = [
            &nested_table(100),
            &nested_table(20_000),
            b"\x01aZ",
            b"\x01\xffV",
            b"\x01aS\xff\xff\xff\xffx",
        ];
        for headers in odd_headers {
            let odd = properties(headers, "odd", "client-deep");
            // A broker that reads them itself ends the connection of who sent them.
            RawAmqp::connect(address)?.publish(DIRECT, &queue, &odd, b"odd")?;
        }
        std::io::Result::Ok(())
    });
    let published = published.await.map_err(|error| Outcome::Broken(error.to_string()))?;
    published.map_err(|error| Outcome::Broken(error.to_string()))?;
    peer.request(service, "after").await?;
    let seen = peer.collect(Duration::from_secs(1)).await;
    let mut seen: Vec<_> = seen.iter().map(|d| (answers(d), told(d))).collect();
    seen.sort();
    let expected = [("after", "reply after"), ("under way", "reply under way")];
    let expected = expected.map(|(id, what)| (id.to_owned(), what.to_owned()));
    check(seen == expected, format_args!("{seen:?}"))
}

/// A caller takes the answer to its call, once, and nothing else.
pub(super) async fn answers_that_are_none_hurt_no_call(place: &Place) -> Result<(), Outcome> {
    let broker = place.broker()?;
    let service = "com.hailocab.service.liar";
    let mut liar = Peer::open(&broker, "server-liar", "server-liar").await?;
    let options = CallerOptions::default().with_sending(Sending::Once);
    let caller = Arc::new(AmqpCaller::new(Broker::parse(&url(&broker))?, options));
    let address = Address::parse("amqp:server-liar")?;
    for round in 0..2 {
        let call = Call::new(ServiceName::parse(service)?, "echo", b"x".as_slice().into());
        let call = call.with_timeout(Duration::from_secs(5));
        let asking = tokio::spawn({
            let (caller, address) = (Arc::clone(&caller), address.clone());
            async move { caller.call(To::at(&address), call).await }
        });
        let request = liar.next(Duration::from_secs(5)).await;
        let request = request.ok_or_else(|| Outcome::Broken("it is not asked".into()))?;
        let text = |value: &Option<lapin::types::ShortString>| {
            value.as_ref().map_or(String::new(), |value| value.as_str().to_owned())
        };
        let (to, id) = (text(request.properties.reply_to()), text(request.properties.message_id()));
        let mut table = FieldTable::default();
        table.insert("messageType".into(), AMQPValue::LongString("reply".into()));
        let plain = BasicProperties::default()
            .with_content_type("application/octetstream".into())
            .with_headers(table);
        let answer = plain.clone().with_correlation_id((&*id).into());
        let other = plain.clone().with_correlation_id("of-nobody".into());
        for (properties, body) in [
            (BasicProperties::default(), &b"\xff"[..]),
            (plain, b"to what?"),
            (other, b"to another"),
            (answer.clone(), b"right"),
            (answer, b"twice"),
        ] {
            liar.publish(DIRECT, &to, properties, body).await?;
        }
        let told = asking.await.map_err(|error| Outcome::Broken(error.to_string()))?;
        let told = told.map(|reply| reply.payload);
        let is_right = told.as_deref().is_ok_and(|body| body == b"right");
        check(is_right, format_args!("round {round}: {told:?}"))?;
    }
    Ok(())
}

/// An answer in short.
fn told(delivery: &lapin::message::Delivery) -> String {
    if header(delivery, "messageType") == "reply" {
        return format!("reply {}", String::from_utf8_lossy(&delivery.data));
    }
    match PlatformError::read(Content::Protobuf, &delivery.data) {
        Some(error) => {
            let kind: ErrorType = error.kind();
            format!("{kind:?} {}", error.code)
        }
        None => "an error that cannot be read".to_owned(),
    }
}
