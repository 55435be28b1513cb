//! Requests that are not answered: sent again as H2's callers do it, under the same id,
//! and only where that does no harm.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use conformance_tests::own::{Outcome, check};
use conformance_tests::servers::RabbitMq;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use portolan::call::{Call, CallErrorKind, Caller, Peer as To};
use portolan::h2::{AmqpCaller, Broker, CallerOptions, Sending};
use portolan::{Address, ErrorKind, ServiceName};

use super::peer::{DIRECT, Peer};
use super::{Place, url};

/// Six times an SLA of 200 ms.
const TIME: Duration = Duration::from_millis(1_200);

fn caller(broker: &RabbitMq, sending: Sending) -> Result<AmqpCaller, Outcome> {
    let options = CallerOptions::default().with_sending(sending);
    Ok(AmqpCaller::new(Broker::parse(&url(broker))?, options))
}

fn call(service: &str) -> Result<Call, Outcome> {
    Ok(Call::new(ServiceName::parse(service)?, "echo", b"x".as_slice().into()).with_timeout(TIME))
}

/// Answers a request as H2's server does.
async fn answer(peer: &Peer, request: &Delivery) -> Result<(), Outcome> {
    let text = |value: &Option<lapin::types::ShortString>| {
        value.as_ref().map_or(String::new(), |value| value.as_str().to_owned())
    };
    let mut table = FieldTable::default();
    table.insert("messageType".into(), AMQPValue::LongString("reply".into()));
    let properties = BasicProperties::default()
        .with_content_type("application/octetstream".into())
        .with_correlation_id(text(request.properties.message_id()).into())
        .with_headers(table);
    peer.publish(DIRECT, &text(request.properties.reply_to()), properties, b"late").await
}

fn id(request: &Delivery) -> String {
    let id = request.properties.message_id().as_ref();
    id.map_or(String::new(), |id| id.as_str().to_owned())
}

/// Three attempts, one message id, and the answer to the first one ends the call.
pub(super) async fn h2_classic_asks_three_times_and_takes_a_late_answer(
    place: &Place,
) -> Result<(), Outcome> {
    let (broker, service) = (place.broker()?, "com.hailocab.service.classic");
    let caller = caller(&broker, Sending::Classic)?;
    let queue = format!("server-{service}-1");
    let address = Address::parse(&format!("amqp:{queue}"))?;
    // Nobody is bound: that is known at once.
    let nobody = caller.call(To::at(&address), call(service)?).await;
    let kind = nobody.map(drop).map_err(|error| error.kind());
    check(kind == Err(CallErrorKind::NoInstance), format_args!("{kind:?}"))?;
    let mut peer = Peer::open(&broker, &queue, &queue).await?;
    peer.bind_itself(service).await?;
    #[allow(clippy::disallowed_methods)] // The broker's time is nobody's to turn.
    let begun = Instant::now();
    let asking = tokio::spawn({
        let call = call(service)?;
        async move { caller.call(To::at(&address), call).await }
    });
    let mut asked = Vec::new();
    for _ in 0..3 {
        let Some(request) = peer.next(Duration::from_secs(3)).await else {
            return Err(Outcome::Broken(format!("asked {} times", asked.len())));
        };
        asked.push((begun.elapsed(), request));
    }
    let ids: HashSet<_> = asked.iter().map(|(_, request)| id(request)).collect();
    check(ids.len() == 1 && !ids.contains(""), format_args!("{ids:?}"))?;
    let times: Vec<_> = asked.iter().map(|(time, _)| time.as_millis()).collect();
    // After one and three sixths of its time, and not before.
    check(times[1] >= 190 && times[2] >= 590, format_args!("{times:?}"))?;
    answer(&peer, &asked[0].1).await?;
    let reply = asking.await.map_err(|error| Outcome::Broken(error.to_string()))?;
    let payload = reply.map(|reply| reply.payload);
    check(payload.as_deref().is_ok_and(|body| body == b"late"), format_args!("{payload:?}"))
}

/// A stranger's host may run a request as often as it comes.
pub(super) async fn only_what_may_be_run_twice_is_asked_again(
    place: &Place,
) -> Result<(), Outcome> {
    let (broker, service) = (place.broker()?, "com.hailocab.service.careful");
    let caller = caller(&broker, Sending::Safely)?;
    let queue = format!("server-{service}-1");
    let address = Address::parse(&format!("amqp:{queue}"))?;
    let mut peer = Peer::open(&broker, &queue, &queue).await?;
    for (idempotent, times) in [(false, 1), (true, 3)] {
        let call = call(service)?.with_idempotent(idempotent);
        let late = caller.call(To::at(&address), call).await;
        let kind = late.map(drop).map_err(|error| error.kind());
        let timeout = Err(CallErrorKind::Registry(ErrorKind::Timeout));
        check(kind == timeout, format_args!("{kind:?}"))?;
        let asked = peer.collect(Duration::from_millis(300)).await;
        check(asked.len() == times, format_args!("asked {} of {times} times", asked.len()))?;
    }
    Ok(())
}
