//! HTTP and JSON to services behind a stream.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto, ServiceDescriptorProto,
};
use serde_json::json;

use super::connect::open_gateway;
use super::peer::{Answered, Peer, Said};
use super::support::{get, post, send};

/// What `protoc --descriptor_set_out` writes of a greeter.
fn descriptor_set() -> String {
    let field = |name: &str, number: i32, kind: Type| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        json_name: Some(name.to_owned()),
        ..FieldDescriptorProto::default()
    };
    let message = |name: &str, fields: Vec<FieldDescriptorProto>| DescriptorProto {
        name: Some(name.to_owned()),
        field: fields,
        ..DescriptorProto::default()
    };
    let method = |name: &str, streaming: bool| MethodDescriptorProto {
        name: Some(name.to_owned()),
        input_type: Some(".greet.Hello".to_owned()),
        output_type: Some(".greet.Reply".to_owned()),
        server_streaming: Some(streaming),
        ..MethodDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("greet.proto".to_owned()),
        package: Some("greet".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![
            message("Hello", vec![field("name", 1, Type::String), field("times", 2, Type::Int64)]),
            message("Reply", vec![field("text", 1, Type::String), field("count", 2, Type::Int64)]),
        ],
        service: vec![ServiceDescriptorProto {
            name: Some("Greeter".to_owned()),
            method: vec![method("Say", false), method("Watch", true)],
            ..ServiceDescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    };
    STANDARD.encode(FileDescriptorSet { file: vec![file] }.encode_to_vec())
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(int64, tag = "2")]
    number: i64,
}

#[tokio::test]
async fn json_becomes_protobuf_by_the_registered_descriptors() {
    let gateway = open_gateway().await;
    let registration = |set: String, method: &str| {
        json!([{"OwnerName": "o", "OwnerId": "o", "Services": [{
            "ServiceName": "greet.Greeter", "DescriptorSet": set,
            "Paths": [{"MethodPath": "hello", "ExposedMethod": method}],
        }]}])
    };
    for (set, method, field) in [
        ("!".to_owned(), "Say", "Services[0].DescriptorSet"),
        (STANDARD.encode(b"\xff\xff"), "Say", "Services[0].DescriptorSet"),
        (descriptor_set(), "Nope", "Services[0].Paths[0].ExposedMethod"),
        (descriptor_set(), "Watch", "Services[0].Paths[0].ExposedMethod"),
    ] {
        let refused = post(&gateway, "/register", &registration(set, method)).await;
        assert_eq!((refused.status, refused.field().as_str()), (400, field), "{refused:?}");
    }
    let answer = post(&gateway, "/register", &registration(descriptor_set(), "Say")).await;
    let key = answer.json()["API-Key"].as_str().unwrap().to_owned();
    let (mut peer, _) = Peer::connect(gateway.grpc, &key, &["greet.Greeter"], "").await.unwrap();
    let serving = tokio::spawn(async move {
        loop {
            let asked = peer.asked().await;
            assert_eq!(asked.method_path, "/greet.Greeter/Say");
            let hello = Pair::decode(&*asked.payload).unwrap();
            if hello.text == "nobody" {
                let response = Some(Answered {
                    request_id: asked.request_id,
                    status_code: 404,
                    error_message: "nobody is not here".to_owned(),
                    ..Answered::default()
                });
                peer.say(&Said { response, ..Said::default() });
                continue;
            }
            let reply = Pair { text: format!("hello {}", hello.text), number: hello.number + 1 };
            peer.answer(&asked, 200, &reply.encode_to_vec());
        }
    });
    let path = "/greet.Greeter/hello";
    let big = "9007199254740993";
    let answer = post(&gateway, path, &json!({"name": "ü", "times": big, "unknown": 1})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json(), json!({"text": "hello ü", "count": "9007199254740994"}));
    let queried = get(gateway.http, &format!("{path}?name=q&times=3")).await;
    assert_eq!(queried.json(), json!({"text": "hello q", "count": "4"}));
    let refused = post(&gateway, path, &json!({"name": "nobody"})).await;
    assert_eq!(refused.status, 404, "{refused:?}");
    assert_eq!(refused.json()["code"], json!("NOT_FOUND"));
    assert_eq!(refused.json()["detail"], json!("nobody is not here"));
    let wrong = post(&gateway, path, &json!({"times": "many"})).await;
    assert_eq!((wrong.status, wrong.field().as_str()), (400, "body"), "{wrong:?}");
    assert_eq!(post(&gateway, "/greet.Greeter/other", &json!({})).await.status, 404);
    serving.abort();
    gateway.stop().await;
}

#[tokio::test]
async fn without_descriptors_bodies_go_through_as_they_are() {
    let gateway = open_gateway().await;
    let (peer, _) = Peer::connect(gateway.grpc, "", &["json.Service"], "").await.unwrap();
    let serving = peer.echo();
    let headers = [("Content-Type", "application/json")];
    let body = "{\"a\": 1,  \"b\": [2]}";
    let answer = send(gateway.http, "POST", "/json.Service/Any", &headers, body).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, body));
    assert!(answer.head.contains("application/json"), "{answer:?}");
    let answer = send(gateway.http, "POST", "/json.Service/Any", &[], "x").await;
    assert!(answer.head.contains("application/octet-stream"), "{answer:?}");
    assert_eq!(post(&gateway, "/nobody/Any", &json!({})).await.status, 404);
    serving.abort();
    gateway.stop().await;
}
