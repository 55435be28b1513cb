//! `portolan call SERVICE METHOD JSON`.

use axum::http::Method;
use clap::Args as ClapArgs;
use portolan::{AddressPolicy, Client, ServiceName, SystemClock};
use serde_json::json;
use std::sync::Arc;

use super::source::{HTTP, Opened, Source};
use super::{Failure, out};
use crate::dispatch::{DispatchError, Dispatched, Dispatcher};
use crate::http_client::escape;
use crate::json;

/// `portolan call`
#[derive(ClapArgs, Debug)]
pub(crate) struct Args {
    /// The service
    service: String,
    /// The method, by its public path
    method: String,
    /// The argument; leave it out for a method that takes none
    json: Option<String>,
    #[command(flatten)]
    source: Source,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let name = ServiceName::parse(&args.service)?;
    let argument = args.json.as_deref().map(|text| json::parse(text.as_bytes())).transpose();
    let argument = argument.map_err(|reason| Failure::usage(format!("JSON: {reason}")))?;
    match args.source.open(HTTP).await? {
        Opened::Gateway(client) => {
            let path = format!("/{}/{}", escape(name.as_str()), escape(&args.method));
            let (status, body) = client.send(Method::POST, &path, argument.as_ref()).await?;
            if !status.is_success() {
                return Err(Failure::answered(status, &body));
            }
            out::line(body);
            Ok(())
        }
        Opened::Backend(registry) => {
            // The caller dials, so its own loopback is nobody else's.
            let policy = AddressPolicy::new().allow_loopback(true);
            let client = Client::new(registry, Arc::new(SystemClock));
            let dispatcher = Dispatcher::new(client, policy);
            match dispatcher.call(&name, &args.method, argument.as_ref()).await {
                Ok(Dispatched::Text(text)) => out::line(text),
                Ok(Dispatched::Value(value)) => out::line(value),
                Ok(Dispatched::Exception(exception, value)) => {
                    let thrown = json!({"exception": exception, "value": value});
                    return Err(Failure::failed(thrown.to_string()));
                }
                Err(error) => return Err(refuse(error)),
            }
            Ok(())
        }
    }
}

fn refuse(error: DispatchError) -> Failure {
    match error {
        DispatchError::Argument(error) => Failure::usage(format!("JSON: {error}")),
        DispatchError::Call(error) => Failure::failed(error.to_string()),
        DispatchError::EmptyBody => Failure::usage("the method takes an argument"),
        DispatchError::Interface(reason) => Failure::failed(reason),
        DispatchError::NoInstance => Failure::failed("no healthy instance is connected"),
        DispatchError::Registry(error) => error.into(),
        DispatchError::Unknown => Failure::not_found("there is no such service or method"),
    }
}
