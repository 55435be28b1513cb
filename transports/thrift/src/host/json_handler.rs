//! Serving a function over JSON values.

use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;
use registry_api::call::{Call, CallError, CallErrorKind, Handler, Reply};
use serde_json::Value;

use crate::idl::Descriptor;
use crate::json::{self, Json};

/// A declared exception, thrown by a [`JsonHandler`]'s function.
#[derive(Clone, Debug)]
pub struct JsonError {
    /// The name of the exception's type.
    pub exception: String,
    /// Its fields.
    pub value: Value,
}

type Function = dyn Fn(&str, Value) -> Result<Value, JsonError> + Send + Sync;

/// Serves a function over JSON values, by an IDL.
pub struct JsonHandler {
    idl: Arc<Descriptor>,
    service: String,
    function: Box<Function>,
}

impl JsonHandler {
    /// A handler for the service of that name in `idl`. `function` gets a method
    /// and its arguments, and returns its result or a declared exception.
    pub fn new(
        idl: Arc<Descriptor>,
        service: impl Into<String>,
        function: impl Fn(&str, Value) -> Result<Value, JsonError> + Send + Sync + 'static,
    ) -> Self {
        Self { idl, service: service.into(), function: Box::new(function) }
    }
}

#[async_trait]
impl Handler for JsonHandler {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        let service = self.idl.service(&self.service);
        let Some(function) = service.and_then(|service| service.function(&call.method)) else {
            return Err(CallError::new(CallErrorKind::UnknownMethod, "unknown method"));
        };
        let broken =
            |error: json::ValueError| CallError::new(CallErrorKind::Framework, error.to_string());
        let arguments = json::read_arguments(&self.idl, function, &call.payload).map_err(broken)?;
        match (self.function)(&function.name, arguments) {
            Ok(result) => {
                let bytes = json::write_result(&self.idl, function, Json::Value(&result))
                    .map_err(broken)?;
                Ok(Reply::new(bytes.into()))
            }
            Err(JsonError { exception, value }) => {
                let bytes =
                    json::write_exception(&self.idl, function, &exception, Json::Value(&value));
                Err(CallError::application(exception, bytes.map_err(broken)?.into()))
            }
        }
    }
}

impl Debug for JsonHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonHandler").field("service", &self.service).finish_non_exhaustive()
    }
}
