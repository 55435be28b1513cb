//! `portolan connect NAME --address ADDR`: joins from the shell.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use clap::Args as ClapArgs;
use portolan::{
    Address, Client, ClientOptions, InstanceId, InstanceSpec, LeaseTerms, MembershipState, Offer,
    ServiceName, StopOptions, Target, Transport,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::run::until_told_to_stop;
use super::source::{HTTP, Opened, Source};
use super::{Failure, out};
use crate::http_client::HttpClient;

/// `portolan connect`
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    /// The service
    name: String,
    /// Where it is called: host:port, or an address with a scheme
    #[arg(long, value_name = "ADDR")]
    address: String,
    /// Silence after which it is offline (a gateway decides this itself)
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// Silence after which it is delisted (a gateway decides this itself)
    #[arg(long, value_name = "DURATION", default_value = "45s", value_parser = humantime::parse_duration)]
    ttd: Duration,
    /// Beat this often through a gateway
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    beat: Duration,
    #[command(flatten)]
    source: Source,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let service = ServiceName::parse(&args.name)?;
    let address = match args.address.contains("://") {
        true => Address::parse(&args.address)?,
        false => Address::parse(&format!("thrift://{}", args.address))?,
    };
    match args.source.open(HTTP).await? {
        Opened::Backend(registry) => {
            let id = InstanceId::parse(&Uuid::new_v4().to_string())?;
            let spec = InstanceSpec::new(id, [Offer::new(service, address)]);
            let spec = spec.with_terms(LeaseTerms::new(args.ttl, args.ttd)?);
            direct(&Client::new(registry, ClientOptions::default()), spec).await
        }
        Opened::Gateway(client) => {
            let key = args.source.api_key.clone();
            let key = key.ok_or_else(|| Failure::usage("a gateway wants an --api-key"))?;
            let member = Member::join(*client, key, &service, &address).await?;
            member.stay(args.beat).await
        }
    }
}

async fn direct(client: &Client, spec: InstanceSpec) -> Result<(), Failure> {
    let mut membership = client.join(spec);
    let told = async {
        loop {
            match membership.changed().await {
                MembershipState::Connected(lease) => {
                    out::line(format_args!("connected {}", lease.id))
                }
                MembershipState::Connecting { refusal } => {
                    eprintln!("connecting {}", refusal.unwrap_or_default());
                }
                MembershipState::Superseded => return,
                _ => {}
            }
        }
    };
    tokio::select! {
        () = told => Err(Failure::failed("another holder took this id over")),
        () = until_told_to_stop() => Ok(membership.stop(None, StopOptions::default()).await?),
    }
}

/// An instance that joined through a gateway.
pub(super) struct Member {
    client: HttpClient,
    key: String,
    join: Value,
    id: String,
}

impl Member {
    pub(super) async fn join(
        client: HttpClient,
        key: String,
        service: &ServiceName,
        address: &Address,
    ) -> Result<Self, Failure> {
        let (Transport::Thrift, Target::Host { host, port }) =
            (address.transport(), address.target())
        else {
            return Err(Failure::usage("a gateway takes thrift:// addresses only"));
        };
        let join = json!({
            "ApiKey": key,
            "ServiceName": service,
            "ServerAddress": host,
            "ServerPort": port.to_string(),
        });
        let id = connect(&client, &join).await?;
        Ok(Self { client, key, join, id })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Beats until told to stop, then leaves.
    async fn stay(mut self, period: Duration) -> Result<(), Failure> {
        out::line(format_args!("connected {}", self.id));
        let beat = async {
            loop {
                tokio::time::sleep(period).await;
                if let Err(failure) = self.beat().await {
                    eprintln!("portolan: {failure}"); // It goes on: a gateway may restart.
                }
            }
        };
        tokio::select! {
            () = beat => {}
            () = until_told_to_stop() => {}
        }
        self.leave().await
    }

    /// Says that it is healthy; joins again where the gateway has forgotten it.
    pub(super) async fn beat(&mut self) -> Result<(), Failure> {
        let (status, body) = self.send("/health").await?;
        match status {
            StatusCode::OK => Ok(()),
            StatusCode::INTERNAL_SERVER_ERROR => {
                self.id = connect(&self.client, &self.join).await?;
                out::line(format_args!("connected {}", self.id));
                Ok(())
            }
            status => Err(Failure::answered(status, &body)),
        }
    }

    async fn leave(&self) -> Result<(), Failure> {
        let (status, body) = self.send("/disconnect").await?;
        match status {
            StatusCode::OK => Ok(()),
            status => Err(Failure::answered(status, &body)),
        }
    }

    async fn send(&self, path: &str) -> Result<(StatusCode, String), Failure> {
        let body = json!({"ApiKey": self.key, "ServerID": self.id});
        Ok(self.client.send(Method::POST, path, Some(&body)).await?)
    }
}

async fn connect(client: &HttpClient, join: &Value) -> Result<String, Failure> {
    let (status, body) = client.send(Method::POST, "/connect", Some(join)).await?;
    if status != StatusCode::OK {
        return Err(Failure::answered(status, &body));
    }
    let answer: Value = serde_json::from_str(&body).unwrap_or_default();
    let id = answer["ServerID"].as_str().map(str::to_owned);
    id.ok_or_else(|| Failure::failed("the gateway answered without a ServerID"))
}
