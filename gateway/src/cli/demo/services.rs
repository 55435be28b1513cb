//! The two services of the demo.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use portolan::ServiceName;
use portolan::thrift::{HostOptions, JsonError, JsonHandler, ThriftHost, idl};
use serde_json::{Value, json};

/// A service to be registered and hosted.
pub(super) struct DemoService {
    pub(super) name: &'static str,
    pub(super) idl: &'static str,
    pub(super) description: &'static str,
    pub(super) paths: Value,
    function: Box<Function>,
}

type Function = dyn Fn(&str, Value) -> Result<Value, JsonError> + Send + Sync;

impl DemoService {
    /// Serves it on a free loopback port.
    pub(super) async fn host(self) -> io::Result<ThriftHost> {
        let descriptor = idl::parse(self.idl).map_err(io::Error::other)?;
        let service = ServiceName::parse(self.name).map_err(io::Error::other)?;
        let handler = JsonHandler::new(Arc::new(descriptor), self.name, self.function);
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        ThriftHost::serve(service, any, Arc::new(handler), HostOptions::default()).await
    }
}

fn paths(methods: &[&str]) -> Value {
    let path = |method: &&str| json!({"MethodPath": method, "ExposedMethod": method});
    methods.iter().map(path).collect()
}

/// Users in memory, with every common Thrift type.
pub(super) fn users() -> DemoService {
    let ada = json!({
        "id": 1, "name": "Ada", "role": 2, "tags": ["math", "engines"], "scores": {"chess": 7},
        "address": {"street": "St James's Square", "city": "London"}, "avatar": "UE5H",
    });
    let linus = json!({"id": 2, "name": "Linus", "tags": [], "scores": {}});
    let users = Mutex::new(BTreeMap::from([(1, ada), (2, linus)]));
    let function = move |method: &str, argument: Value| {
        let mut users = users.lock().unwrap_or_else(PoisonError::into_inner);
        let id = argument["id"].as_i64().unwrap_or_default();
        match method {
            "putUser" => {
                users.insert(id, argument.clone());
                Ok(argument)
            }
            "countUsers" => Ok(json!(users.len())),
            _ => users.get(&id).cloned().ok_or_else(|| JsonError {
                exception: "UserNotFound".to_owned(),
                value: json!({"id": id, "reason": "nobody has this id"}),
            }),
        }
    };
    DemoService {
        name: "UserService",
        idl: include_str!("users.thrift"),
        description: "Users, kept in memory",
        paths: paths(&["getUser", "putUser", "countUsers"]),
        function: Box::new(function),
    }
}

/// Says hello.
pub(super) fn greeter() -> DemoService {
    let function = |_method: &str, argument: Value| {
        let name = argument["name"].as_str().unwrap_or_default();
        let word = match argument["language"].as_str() {
            Some("pt") => "Olá",
            Some("de") => "Hallo",
            _ => "Hello",
        };
        Ok(json!(format!("{word}, {name}!")))
    };
    DemoService {
        name: "Greeter",
        idl: include_str!("greeter.thrift"),
        description: "Says hello",
        paths: paths(&["hello"]),
        function: Box::new(function),
    }
}
