//! `portolan call SERVICE METHOD JSON`.

use axum::http::Method;
use clap::Args as ClapArgs;
use portolan::call::Headers;
use portolan::grpc::{GrpcCaller, Security};
use portolan::thrift::json::{Json, Style};
use portolan::thrift::{CallerOptions, ThriftCaller, idl};
use portolan::{AddressPolicy, ChannelOptions, Client, ClientOptions, ServiceName};
use std::sync::Arc;

use super::source::{HTTP, Opened, Source};
use super::{Failure, out};
use crate::dispatch::{self, Callers, DispatchError, Dispatched, Dispatcher, Request};
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
            let client = Client::new(registry, ClientOptions::default());
            let thrift = ThriftCaller::new(policy.clone(), CallerOptions::default());
            let grpc = GrpcCaller::new(policy, Security::SystemRoots);
            let callers = Callers { thrift: Arc::new(thrift), protobuf: Arc::new(grpc) };
            let options = ChannelOptions::default();
            let dispatcher = Dispatcher::new(client, callers, options, idl::Cache::default());
            let request = Request {
                service: &name,
                path: &args.method,
                argument: argument.as_ref().map(Json::Value),
                idempotent: false,
                headers: Headers::new(),
                wait: None,
                style: Style::default().with_bare_text(true),
            };
            match dispatcher.call(request).await.map_err(refuse)? {
                Dispatched::Text(text) | Dispatched::Json(text) => {
                    out::line(String::from_utf8_lossy(&text));
                }
                Dispatched::Opaque(bytes) => out::line(String::from_utf8_lossy(&bytes)),
                Dispatched::Exception(name, value) => {
                    let thrown = dispatch::thrown(&name, &value);
                    return Err(Failure::failed(String::from_utf8_lossy(&thrown)));
                }
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
        DispatchError::Registry(error) => error.into(),
        DispatchError::Unknown => Failure::not_found("there is no such service or method"),
    }
}
