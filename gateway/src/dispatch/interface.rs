//! What a declaration means for calls.

use std::collections::HashMap;
use std::sync::Arc;

use portolan::call::{CallError, CallErrorKind};
use portolan::grpc::descriptor;
use portolan::thrift::idl::{self, Descriptor, Function};
use portolan::thrift::json::{self, Answer, Style};
use portolan::{Route, ServiceRecord};

use super::{DispatchError, Dispatched};

/// How the methods of a service are called.
#[derive(Debug)]
pub(crate) enum Interface {
    /// By a descriptor set.
    Protobuf(Protobuf),
    /// By a Thrift IDL.
    Thrift(Thrift),
    /// Nothing was declared: bodies go through as they are.
    Opaque,
}

#[derive(Debug)]
pub(crate) struct Protobuf {
    methods: descriptor::Interface,
    routes: HashMap<String, String>,
}

#[derive(Debug)]
pub(crate) struct Thrift {
    pub(super) idl: Arc<Descriptor>,
    service: String,
    routes: HashMap<String, String>,
}

impl Interface {
    /// The error says what is wrong with the IDL.
    pub(crate) fn new(record: &ServiceRecord, idls: &idl::Cache) -> Result<Self, String> {
        let spec = &record.spec;
        let routes = routes(&spec.routes);
        if descriptor::Interface::is_meant(&spec.idl) {
            let methods = descriptor::Interface::parse(&spec.idl, spec.name.as_str())?;
            return Ok(Self::Protobuf(Protobuf { methods, routes }));
        }
        if spec.idl.is_empty() {
            return Ok(Self::Opaque);
        }
        let idl = idls.get(&spec.idl, &spec.idl_includes).map_err(|error| error.to_string())?;
        Ok(Self::Thrift(Thrift { idl, service: spec.name.to_string(), routes }))
    }
}

fn routes(declared: &[Route]) -> HashMap<String, String> {
    declared.iter().map(|route| (route.path.clone(), route.method.clone())).collect()
}

/// The method behind a path; where no routes are declared, the names of the
/// methods are their paths.
fn method<'a>(routes: &'a HashMap<String, String>, path: &'a str) -> Option<&'a str> {
    match routes.is_empty() {
        true => Some(path),
        false => routes.get(path).map(String::as_str),
    }
}

impl Protobuf {
    pub(super) fn method(&self, path: &str) -> Option<descriptor::Method> {
        self.methods.method(method(&self.routes, path)?)
    }
}

impl Thrift {
    pub(super) fn function(&self, path: &str) -> Option<&Arc<Function>> {
        self.idl.service(&self.service)?.function(method(&self.routes, path)?)
    }

    pub(super) fn read(
        &self,
        function: &Function,
        result: &[u8],
        style: Style,
    ) -> Result<Dispatched, DispatchError> {
        let mut out = Vec::new();
        match json::read_result(&self.idl, function, result, style, &mut out) {
            Ok(Answer::Exception(name)) => Ok(Dispatched::Exception(name, out)),
            Ok(Answer::Result) if function.returns_string() => Ok(Dispatched::Text(out)),
            Ok(Answer::Result) => Ok(Dispatched::Json(out)),
            Err(error) => Err(unfit(&error)),
        }
    }
}

/// An answer that does not fit the declaration.
pub(super) fn unfit(error: &dyn std::fmt::Display) -> DispatchError {
    let reason = format!("the answer does not fit the IDL: {error}");
    DispatchError::Call(CallError::new(CallErrorKind::Framework, reason))
}
