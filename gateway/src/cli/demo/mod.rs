//! `portolan demo`: the main job, with nothing installed.
//!
//! The services join through the public interfaces only: `/register`,
//! `/connect`, `/health`.

mod services;

use std::time::Duration;

use axum::http::{Method, StatusCode};
use clap::Args as ClapArgs;
use portolan::ServiceName;
use portolan::call::Host;
use serde_json::{Value, json};

use self::services::DemoService;
use super::connect::Member;
use super::run::until_told_to_stop;
use super::{Failure, out};
use crate::config::{Config, Flags};
use crate::gateway::Gateway;
use crate::http_client::HttpClient;

/// `portolan demo`
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    /// End after the calls instead of staying up
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    flags: Flags,
}

const BEAT: Duration = Duration::from_secs(5);

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let config = Config::settle_with(args.flags, "sqlite::memory:").map_err(Failure::usage)?;
    let gateway = Gateway::start(&config).await.map_err(|error| {
        Failure::failed(format!("{error} (choose others with --http, --grpc and --admin)"))
    })?;
    out::line(format_args!(
        "A gateway is up: calls on http://{}, admin on http://{}",
        gateway.http, gateway.admin
    ));
    let client = HttpClient::new(&format!("http://{}", gateway.http))?;
    let mut joined = Vec::new();
    for service in [services::users(), services::greeter()] {
        joined.push(join(&client, service).await?);
    }
    out::line(format_args!("\nA few calls, HTTP JSON in, Thrift to the service, JSON out:"));
    show(&client, "UserService/getUser", &json!({"id": 1})).await?;
    show(&client, "UserService/putUser", &json!({"id": "7", "name": "Grace", "tags": ["navy"]}))
        .await?;
    show(&client, "UserService/getUser", &json!({"id": 404})).await?;
    show(&client, "Greeter/hello", &json!({"name": "Vasco"})).await?;
    if !args.once {
        suggest(&gateway);
        until_told_to_stop().await;
    }
    drop(joined);
    gateway.stop().await;
    Ok(())
}

/// A service that is hosted, joined and beaten for until it is dropped.
struct Joined {
    _host: portolan::thrift::ThriftHost,
    beats: tokio::task::JoinHandle<()>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.beats.abort();
    }
}

/// The guide, step by step: register, connect, and beats from then on.
async fn join(client: &HttpClient, service: DemoService) -> Result<Joined, Failure> {
    let name = ServiceName::parse(service.name)?;
    let body = json!([{
        "OwnerName": "Demo", "OwnerId": format!("demo-{name}"),
        "Services": [{
            "ServiceName": name, "IdlContent": service.idl,
            "Version": "1.0", "ServiceDescription": service.description,
            "Paths": service.paths,
        }],
    }]);
    let (status, answer) = client.send(Method::POST, "/register", Some(&body)).await?;
    if status != StatusCode::OK {
        return Err(Failure::answered(status, &answer));
    }
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    let key = answer["API-Key"].as_str().unwrap_or_default().to_owned();

    let host = service.host().await.map_err(|error| Failure::failed(error.to_string()))?;
    let address = host.offers().into_iter().flat_map(|offer| offer.addresses.to_vec()).next();
    let address = address.ok_or_else(|| Failure::failed("a service has no address"))?;
    let member = Member::join(client.clone(), key, &name, &address).await?;
    out::line(format_args!("{name} is hosted at {address} and joined as {}", member.id()));
    let beats = tokio::spawn(beat(member));
    Ok(Joined { _host: host, beats })
}

async fn beat(mut member: Member) {
    loop {
        tokio::time::sleep(BEAT).await;
        if let Err(failure) = member.beat().await {
            tracing::warn!(%failure, "a beat failed");
        }
    }
}

async fn show(client: &HttpClient, path: &str, body: &Value) -> Result<(), Failure> {
    let (status, answer) = client.send(Method::POST, &format!("/{path}"), Some(body)).await?;
    out::line(format_args!("  POST /{path} {body}\n    {} {answer}", status.as_u16()));
    Ok(())
}

fn suggest(gateway: &Gateway) {
    let (http, admin) = (gateway.http, gateway.admin);
    out::line(format_args!(
        "\nIt stays up until Ctrl-C. Try:
  curl -s 'http://{http}/UserService/getUser?id=2'
  curl -s http://{http}/Greeter/hello -d '{{\"name\":\"you\",\"language\":\"pt\"}}'
  curl -s http://{admin}/api/v1/services
  portolan services --gateway http://{admin}
  portolan watch UserService --gateway http://{admin} --output json"
    ));
}
