//! Calls beside discovery, which pings a thousand instances.

use std::time::{Duration, Instant};

use conformance_tests::servers::RabbitMq;
use futures_util::StreamExt;
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use portolan::call::Call;
use portolan::h2::*;
use portolan::*;
use tokio::runtime::Runtime;

use super::{Calling, at, loops};
use crate::rounds::Table;

const INSTANCES: usize = 1_000;
const ROUNDS: usize = 9;
const CALLS: u64 = 2_000;

/// The same calls while a thousand instances are pinged every ten seconds, as H2 does
/// it, and while nobody is.
pub fn measure(runtime: &Runtime, table: &mut Table, broker: &RabbitMq, calling: &Calling) {
    let registry = runtime.block_on(open("memory:")).expect("it opens");
    let discover = || async {
        let options = DiscoveryOptions::default();
        Discovery::serve(registry.clone(), at(broker), options).await.expect("it serves")
    };
    let _instances = runtime.block_on(async {
        let discovery = discover().await;
        let instances = instances(broker).await;
        tokio::time::sleep(Duration::from_secs(25)).await;
        drop(discovery);
        instances
    });
    let there = runtime.block_on(registry.resolve(&Query::all())).expect("it reads");
    let online = there.instances.iter().filter(|i| i.health == Health::Online).count();
    let name = "h2: of 1,000 instances that are pinged, not online after 25 s";
    table.figure(name, (INSTANCES - online) as f64, 0.0);
    let timed = || {
        let begun = Instant::now();
        runtime.block_on(loops(CALLS, 64, || calling.call()));
        begun.elapsed().as_secs_f64()
    };
    let round = |_| {
        let quiet = timed();
        let discovery = runtime.block_on(async {
            let discovery = discover().await;
            // It binds what is there, and pings go out each second.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            discovery
        });
        let pinged = timed();
        drop(discovery);
        (quiet, pinged)
    };
    let rounds: Vec<_> = (0..ROUNDS).map(round).collect();
    table.rounds("h2: a call, 64 at a time, beside discovery of 1,000 / without", 0.9, &rounds);
}

/// Registers instances that answer pings, over one connection.
async fn instances(broker: &RabbitMq) -> Connection {
    let url = format!("amqp://guest:guest@{}/%2f", broker.address());
    let connection = Connection::connect(&url, ConnectionProperties::default()).await;
    let connection = connection.expect("it connects");
    let caller = AmqpCaller::new(at(broker), CallerOptions::default());
    let channel = connection.create_channel().await.expect("a channel");
    let discovery = ServiceName::parse("com.hailocab.kernel.discovery").expect("a literal");
    for number in 0..INSTANCES {
        let id = format!("server-com.hailocab.service.many-{number:032}");
        let own = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        channel.queue_declare((&*id).into(), own, FieldTable::default()).await.expect("a queue");
        let (queue, plain) = ((&*id).into(), QueueBindOptions::default());
        let bound = channel
            .queue_bind(queue, "h2o.direct".into(), (&*id).into(), plain, FieldTable::default())
            .await;
        bound.expect("it is bound");
        let taken = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let (queue, none) = ((&*id).into(), FieldTable::default());
        let consumer = channel.basic_consume(queue, "".into(), taken, none).await;
        let mut consumer = consumer.expect("a consumer");
        let answers = channel.clone();
        let own = id.clone();
        tokio::spawn(async move {
            while let Some(Ok(ping)) = consumer.next().await {
                let Some(to) = ping.properties.reply_to().clone() else { continue };
                let mut table = FieldTable::default();
                table.insert("messageType".into(), AMQPValue::LongString("heartbeat".into()));
                let pong = BasicProperties::default()
                    .with_content_type("text/plain".into())
                    .with_reply_to((&*own).into())
                    .with_headers(table);
                let (key, plain) = (to, BasicPublishOptions::default());
                let sent = answers.basic_publish("h2o.direct".into(), key, plain, b"PONG", pong);
                drop(sent.await.expect("it is sent"));
            }
        });
        let call = Call::new(discovery.clone(), "multiregister", registration(&id).into());
        caller.call_service(call).await.expect("it registers");
    }
    connection
}

/// What H2's servers send, by the numbers of its fields.
fn registration(id: &str) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        assert!(bytes.len() < 128, "one byte of length");
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    };
    let name = b"com.hailocab.service.many";
    let told = [field(1, name), vec![24, 1], field(4, b""), field(5, b""), field(6, b"")];
    [field(1, id.as_bytes()), field(2, b"h"), field(3, b""), field(4, &told.concat())].concat()
}
