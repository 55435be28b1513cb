//! Services written with our host, as H2's own programs see them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conformance_tests::h2_login::{DAVE, EVE, KEY};
use conformance_tests::own::{Outcome, check, within};
use conformance_tests::servers::RabbitMq;
use portolan::call::{Call, CallError, CallErrorKind, Headers};
use portolan::h2::{
    AmqpCaller, Asked, Broker, CallerOptions, Content, Discovery, DiscoveryOptions, Endpoint,
    ErrorType, PlatformError, Rule, Running, Service, application, header,
};
use portolan::{ErrorKind, Query, Registry, ServiceName};
use prost::Message;
use serde::{Deserialize, Serialize};

use super::peer::{Peer, answers, header as said};
use super::{Place, url, with_plugins};

const SERVICE: &str = "com.hailocab.service.example";
/// The guide's messages, as they are called there.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
struct HelloRequest {}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
struct HelloResponse {
    #[prost(string, optional, tag = "1")]
    message: Option<String>,
}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SessionRequest {
    #[prost(string, required, tag = "1")]
    sess_id: String,
}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SessionResponse {
    #[prost(string, required, tag = "1")]
    sess_id: String,
    #[prost(string, required, tag = "2")]
    token: String,
}

async fn hello(asked: Asked<HelloRequest>) -> Result<HelloResponse, PlatformError> {
    let who = asked.user.map_or("World".to_owned(), |user| user.id.clone());
    Ok(HelloResponse { message: Some(format!("Hello {who}")) })
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn example() -> Service {
    let open = Endpoint::new("hello", hello).with_rule(Rule::Open);
    Service::new(SERVICE)
        .with_description("The guide's example")
        .with_version(20_130_624_113_616)
        .with_endpoint(open.with_sla(ms(500), ms(1_000)))
        .with_endpoint(Endpoint::new("admin", hello))
}

async fn run(service: Service, broker: &RabbitMq) -> Result<Running, Outcome> {
    Ok(service.run(Broker::parse(&url(broker))?).await?)
}

fn caller(broker: &RabbitMq) -> Result<AmqpCaller, Outcome> {
    let from = CallerOptions::default().with_from("com.hailocab.service.tester");
    Ok(AmqpCaller::new(Broker::parse(&url(broker))?, from))
}

/// A call of the example, in protobuf.
fn call(endpoint: &str) -> Result<Call, Outcome> {
    let call = Call::new(ServiceName::parse(SERVICE)?, endpoint, Vec::new().into());
    Ok(call.with_timeout(Duration::from_secs(5)))
}

/// The code and the number of the error that a service answered.
fn refusal(outcome: Result<HelloResponse, CallError>) -> Option<(String, String)> {
    let told = application(&outcome.err()?)?;
    Some((told.code, told.context.first().cloned().unwrap_or_default()))
}

async fn ask(caller: &AmqpCaller, call: Call) -> Result<HelloResponse, CallError> {
    let answering = caller.call_service(call).await?;
    let unreadable = |_| CallError::new(CallErrorKind::Framework, "no HelloResponse");
    HelloResponse::decode(answering.reply.payload).map_err(unreadable)
}

pub(super) async fn the_guides_service_is_listed_called_and_leaves(
    _: &Place,
) -> Result<(), Outcome> {
    for plugins in [&[super::topology::HASHING][..], &[]] {
        let broker = with_plugins(plugins)?;
        let registry = portolan::open("memory:").await?;
        let at = Broker::parse(&url(&broker))?;
        let options = DiscoveryOptions::default().with_ping_every(ms(200));
        let discovery = Discovery::serve(Arc::clone(&registry), at, options).await?;
        let mut reader = Peer::open(&broker, "client-reader", "client-reader").await?;
        reader.subscribe("com.hailocab.kernel.discovery.#").await?;
        tokio::time::sleep(ms(300)).await; // Its first look is no news.
        let running = run(example(), &broker).await?;
        running.registered().await;
        let id = running.instance().to_owned();
        check(ids(&*registry).await? == [id.clone()], "it is not in the registry")?;
        let up = reader.next(Duration::from_secs(5)).await;
        let up = up.map(|up| (said(&up, "topic"), up.data.len() > 40)).unwrap_or_default();
        check(up == ("com.hailocab.kernel.discovery.serviceup".to_owned(), true), &up.0)?;
        // What it promises is what callers of all wires wait by.
        let sla = || async {
            let view = registry.resolve(&Query::service(ServiceName::parse(SERVICE)?)).await?;
            let endpoints = view.services.first().map(|record| record.spec.endpoints.clone());
            let hello = endpoints.iter().flatten().find(|endpoint| endpoint.name == "hello");
            Ok(hello.and_then(|hello| hello.sla).is_some_and(|sla| sla.p95 == ms(1_000)))
        };
        within(Duration::from_secs(5), "its SLA is declared", sla).await?;
        // An independent caller, in both encodings, through what chooses an instance.
        let mut peer = Peer::open(&broker, "client-peer", "client-peer").await?;
        for (content, body, expected) in [
            ("application/octetstream", &b""[..], &b"\n\x0bHello World"[..]),
            ("application/json", b"{}", br#"{"message":"Hello World"}"#),
        ] {
            let request = peer.id();
            let properties = peer.asking(SERVICE, "hello", &request);
            peer.publish("h2o", "", properties.with_content_type(content.into()), body).await?;
            let answer = peer.next(Duration::from_secs(5)).await;
            let answer = answer.filter(|answer| answers(answer) == request);
            let told = answer.map(|answer| answer.data).unwrap_or_default();
            check(
                told == expected,
                format_args!("{content}: {:?}", String::from_utf8_lossy(&told)),
            )?;
        }
        // Several ttds.
        tokio::time::sleep(ms(1_200)).await;
        check(ids(&*registry).await? == [id.clone()], "it answers pings, and is gone")?;
        running.stop().await;
        check(ids(&*registry).await?.is_empty(), "it left, and is there")?;
        let down = reader.next(Duration::from_secs(5)).await;
        let down = down.map(|down| said(&down, "topic")).unwrap_or_default();
        check(down == "com.hailocab.kernel.discovery.servicedown", &down)?;
        drop(discovery);
    }
    Ok(())
}

async fn ids(registry: &dyn Registry) -> Result<Vec<String>, Outcome> {
    let view = registry.resolve(&Query::all()).await?;
    Ok(view.instances.iter().map(|instance| instance.id.to_string()).collect())
}

pub(super) async fn who_may_is_said_by_sessions_and_nobody_else(
    place: &Place,
) -> Result<(), Outcome> {
    let broker = place.broker()?;
    let login = Endpoint::protobuf("readsession", |asked: Asked<SessionRequest>| async move {
        let sess_id = asked.request.sess_id;
        let token = match &*sess_id {
            "dave" => DAVE.to_owned(),
            "eve" => EVE.to_owned(),
            "mallory" => DAVE.replace("id=dave", "id=mallory"),
            _ => {
                let code = "com.hailocab.service.login.readsession";
                return Err(PlatformError::new(ErrorType::NotFound, code, "no such session"));
            }
        };
        Ok(SessionResponse { sess_id, token })
    });
    let login = Service::new("com.hailocab.service.login")
        .with_endpoint(login.with_rule(Rule::Open))
        .run(Broker::parse(&url(&broker))?)
        .await?;
    let signed_in = Endpoint::new("me", hello).with_rule(Rule::SignedIn);
    let running = run(example().with_endpoint(signed_in).with_login_key(KEY), &broker).await?;
    let caller = caller(&broker)?;
    let badrole = |number: &str| Some(("com.hailocab.kernel.auth.badrole".into(), number.into()));
    let nobody = Some(("com.hailocab.kernel.auth.notsignedin".to_owned(), "201".to_owned()));
    check(refusal(ask(&caller, call("admin")?).await) == badrole("5"), "without a session")?;
    check(refusal(ask(&caller, call("me")?).await) == nobody, "signed in without a session")?;
    // Whoever can publish can say so.
    let says_so = call("admin")?.with_header(header::AUTHORISED, "1");
    check(refusal(ask(&caller, says_so).await) == badrole("5"), "it says that it may")?;
    for session in ["eve", "mallory", "unknown"] {
        let call = call("admin")?.with_header(header::SESSION, session);
        let refused = refusal(ask(&caller, call).await);
        check(refused == badrole("201"), format_args!("{session}: {refused:?}"))?;
    }
    for endpoint in ["admin", "me"] {
        let call = call(endpoint)?.with_header(header::SESSION, "dave");
        let greeted = ask(&caller, call).await.map(|answer| answer.message);
        let is_dave = matches!(&greeted, Ok(Some(text)) if text == "Hello dave");
        check(is_dave, format_args!("{endpoint}: {greeted:?}"))?;
    }
    running.stop().await;
    // Where it is believed, it is enough.
    let running = run(example().with_trust_in_authorised(true), &broker).await?;
    let says_so = call("admin")?.with_header(header::AUTHORISED, "1");
    check(ask(&caller, says_so).await.is_ok(), "it is believed, and refused")?;
    running.stop().await;
    login.stop().await;
    Ok(())
}

pub(super) async fn what_is_published_reaches_every_reader_once(
    place: &Place,
) -> Result<(), Outcome> {
    let broker = place.broker()?;
    let read = Arc::new(Mutex::new(Vec::new()));
    let mut running = Vec::new();
    for number in 0..2 {
        let list = Arc::clone(&read);
        let reader = move |asked: Asked<HelloResponse>| {
            let text = asked.request.message.unwrap_or_default();
            list.lock().unwrap_or_else(PoisonError::into_inner).push((number, text));
            async { Ok(()) }
        };
        let topic = Endpoint::subscriber("com.hailocab.news", reader);
        let service = example().with_endpoint(topic.with_rule(Rule::Open));
        running.push(run(service, &broker).await?);
    }
    let caller = caller(&broker)?;
    for (text, content) in [("one", Content::Protobuf), ("two", Content::Json)] {
        let news = HelloResponse { message: Some(text.to_owned()) };
        let body = match content {
            Content::Protobuf => news.encode_to_vec(),
            Content::Json => portolan::h2::json::write(&news).map_err(Outcome::Broken)?,
        };
        caller.publish("com.hailocab.news", content, &body, &Headers::new()).await?;
        caller.publish("com.hailocab.other", content, &body, &Headers::new()).await?;
    }
    let all = || async { Ok(read.lock().unwrap_or_else(PoisonError::into_inner).len() == 4) };
    within(Duration::from_secs(5), "both have read both", all).await?;
    tokio::time::sleep(ms(200)).await;
    let mut list = read.lock().unwrap_or_else(PoisonError::into_inner).clone();
    list.sort();
    let expected = [(0, "one"), (0, "two"), (1, "one"), (1, "two")];
    let list: Vec<_> = list.iter().map(|(number, text)| (*number, &**text)).collect();
    check(list == expected, format_args!("{list:?}"))?;
    let long = "t".repeat(256);
    let refused = caller.publish(&long, Content::Json, b"", &Headers::new()).await;
    let kind = refused.map_err(|error| error.kind());
    check(kind == Err(ErrorKind::InvalidArgument), format_args!("{kind:?}"))?;
    for running in running {
        running.stop().await;
    }
    Ok(())
}

pub(super) async fn one_caller_does_not_take_the_room_of_another(
    place: &Place,
) -> Result<(), Outcome> {
    let broker = place.broker()?;
    let slow = Endpoint::new("slow", |_: Asked<HelloRequest>| async {
        tokio::time::sleep(ms(1_500)).await;
        Ok(HelloResponse::default())
    });
    let slow = slow.with_rule(Rule::Open).with_sla(ms(50), ms(2_000));
    let running = run(example().with_endpoint(slow).with_capacity_per_caller(2), &broker).await?;
    let caller = Arc::new(caller(&broker)?);
    let from = |name: &str| Ok::<_, Outcome>(call("slow")?.with_header(header::FROM, name));
    let mut taken = Vec::new();
    for _ in 0..2 {
        let (caller, call) = (Arc::clone(&caller), from("greedy")?);
        taken.push(tokio::spawn(async move { ask(&caller, call).await }));
    }
    tokio::time::sleep(ms(300)).await;
    let third = ask(&caller, from("greedy")?).await.map_err(|error| error.kind());
    let shed = Err(CallErrorKind::Registry(ErrorKind::Overloaded));
    check(third == shed, format_args!("a third call of one caller: {third:?}"))?;
    let other = ask(&caller, from("modest")?).await;
    check(other.is_ok(), format_args!("another caller: {other:?}"))?;
    for call in taken {
        check(call.await.is_ok_and(|answer| answer.is_ok()), "a call with room failed")?;
    }
    running.stop().await;
    Ok(())
}

pub(super) async fn it_says_how_it_is(place: &Place) -> Result<(), Outcome> {
    let broker = place.broker()?;
    let service = example()
        .with_health_check("com.hailocab.service.example.disk", || Ok(()))
        .with_health_check("com.hailocab.service.example.cache", || Err("it is cold".into()))
        .with_trust_in_authorised(true);
    let running = run(service, &broker).await?;
    let caller = caller(&broker)?;
    for _ in 0..3 {
        let answer = ask(&caller, call("hello")?).await;
        check(answer.is_ok(), format_args!("{answer:?}"))?;
    }
    let refused = ask(&caller, call("health")?).await;
    check(refusal(refused).is_some(), "everybody may ask how it is")?;
    let mut told = Vec::new();
    for endpoint in ["health", "stats"] {
        let mut call = call(endpoint)?.with_header(header::AUTHORISED, "1");
        call.content_type = Content::Json.as_str().to_owned();
        let answering = caller.call_service(call).await;
        let answering = answering.map_err(|error| Outcome::Broken(error.to_string()))?;
        told.push(serde_json::from_slice(&answering.reply.payload).unwrap_or_default());
    }
    let [health, stats]: [serde_json::Value; 2] =
        told.try_into().map_err(|_| Outcome::Broken("not two".into()))?;
    let checks = &health["healthchecks"];
    let well = [&checks[0]["isHealthy"], &checks[1]["isHealthy"]];
    check(well == [true, false] && checks[1]["errorDescription"] == "it is cold", &health)?;
    check(checks[0]["instanceId"] == running.instance(), &health)?;
    let hello = stats["endpoints"].as_array().into_iter().flatten();
    let hello = hello.filter(|one| one["endpointName"] == "hello").collect::<Vec<_>>();
    let [hello] = hello[..] else { return Err(Outcome::Broken(stats.to_string())) };
    check(hello["sla"]["upper95"] == 1000.0 && hello["success"]["mean"].is_number(), hello)?;
    check(
        stats["serviceVersion"] == 20_130_624_113_616_u64 && stats["status"] == "RUNNING",
        &stats,
    )?;
    running.stop().await;
    Ok(())
}

pub(super) async fn a_service_that_cannot_be_is_refused_by_name(
    place: &Place,
) -> Result<(), Outcome> {
    let broker = place.broker()?;
    for (service, field) in [
        (Service::new("payments"), "service"),
        (example().with_endpoint(Endpoint::new("Hello", hello)), "endpoint"),
        (example().with_endpoint(Endpoint::new("health", hello)), "endpoint"),
        (example().with_endpoint(Endpoint::new("hello", hello)), "endpoint"),
        (example().with_login_key("no key"), "login key"),
    ] {
        let refused = service.run(Broker::parse(&url(&broker))?).await.map(drop);
        let named = refused.as_ref().err().and_then(|error| error.context("field"));
        check(named == Some(field), format_args!("{field}: {refused:?}"))?;
    }
    Ok(())
}
