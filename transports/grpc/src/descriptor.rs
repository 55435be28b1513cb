//! What a declared descriptor set means: JSON for methods of protobuf services.
//!
//! A declaration carries a `FileDescriptorSet` (google/protobuf
//! `descriptor.proto`, as `protoc --include_imports --descriptor_set_out` writes
//! it) as a data URL in place of an IDL text. JSON is that of proto3
//! (protobuf.dev, *ProtoJSON Format*), in field names as they are declared.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MethodDescriptor, SerializeOptions,
    ServiceDescriptor,
};

/// The beginning of an IDL that is a descriptor set.
const DATA_URL: &str = "data:application/x-protobuf;base64,";

/// The interface of a service that was declared with a descriptor set.
#[derive(Clone, Debug)]
pub struct Interface {
    services: Vec<ServiceDescriptor>,
}

impl Interface {
    /// Whether an IDL is a descriptor set.
    pub fn is_meant(idl: &str) -> bool {
        idl.starts_with(DATA_URL)
    }

    /// A descriptor set, base64 as JSON carries it, as an IDL.
    pub fn to_idl(base64: &str) -> String {
        format!("{DATA_URL}{base64}")
    }

    /// Reads an IDL that is one. `name` is the service's; a set may define it by
    /// its full name, by its last part, or define several that begin with it.
    pub fn parse(idl: &str, name: &str) -> Result<Self, String> {
        let encoded = idl.strip_prefix(DATA_URL).ok_or("is no descriptor set")?;
        let bytes = STANDARD.decode(encoded).map_err(|error| format!("is not base64: {error}"))?;
        let pool = DescriptorPool::decode(&*bytes)
            .map_err(|error| format!("is no FileDescriptorSet: {error}"))?;
        let fits = |service: &ServiceDescriptor| {
            let full = service.full_name();
            full == name
                || service.name() == name
                || full.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
        };
        let services: Vec<_> = pool.services().filter(fits).collect();
        if services.is_empty() {
            let defined: Vec<_> = pool.services().map(|s| s.full_name().to_owned()).collect();
            return Err(format!(
                "must define a service named {name} as ServiceName says; it defines: {}",
                defined.join(", ")
            ));
        }
        Ok(Self { services })
    }

    /// A unary method by its name, or as `pkg.Service/Method` where several
    /// services are defined.
    pub fn method(&self, name: &str) -> Option<Method> {
        let (service, method) = match name.rsplit_once('/') {
            Some((service, method)) => (Some(service), method),
            None => (None, name),
        };
        let named = self
            .services
            .iter()
            .filter(|known| service.is_none_or(|name| known.full_name() == name));
        let found =
            named.flat_map(ServiceDescriptor::methods).find(|known| known.name() == method)?;
        let unary = !found.is_client_streaming() && !found.is_server_streaming();
        unary.then_some(Method(found))
    }

    /// The names of all unary methods.
    pub fn methods(&self) -> Vec<String> {
        let all = self.services.iter().flat_map(ServiceDescriptor::methods);
        all.filter(|m| !m.is_client_streaming() && !m.is_server_streaming())
            .map(|method| method.name().to_owned())
            .collect()
    }
}

/// A unary method of an [`Interface`].
#[derive(Clone, Debug)]
pub struct Method(MethodDescriptor);

impl Method {
    /// How a call names it: `pkg.Service/Method`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.0.parent_service().full_name(), self.0.name())
    }

    /// The argument, from JSON. Unknown keys are passed over. The error names
    /// what does not fit, and where.
    pub fn write(&self, json: &[u8]) -> Result<Bytes, String> {
        let json = if json.trim_ascii().is_empty() { b"{}" } else { json };
        let mut reader = serde_json::Deserializer::from_slice(json);
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let read = DynamicMessage::deserialize_with_options(self.0.input(), &mut reader, &options);
        let message = read.map_err(|error| error.to_string())?;
        reader.end().map_err(|error| error.to_string())?;
        Ok(message.encode_to_vec().into())
    }

    /// The result, as JSON. The error says why the bytes are none.
    pub fn read(&self, message: Bytes) -> Result<Vec<u8>, String> {
        let message = DynamicMessage::decode(self.0.output(), message);
        let message = message.map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        let mut writer = serde_json::Serializer::new(&mut out);
        let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(false);
        message.serialize_with_options(&mut writer, &options).map_err(|error| error.to_string())?;
        Ok(out)
    }
}
