//! Events reach who subscribed to them.

use super::connect::open_gateway;
use super::peer::{ERROR, Event, Peer, Said, Subscription};

fn subscription(action: i32, types: &[&str]) -> Said {
    let event_types = types.iter().map(ToString::to_string).collect();
    let subscription = Some(Subscription { action, event_types });
    Said { subscription, ..Said::default() }
}

fn event(event_type: &str) -> Said {
    let event =
        Event { event_type: event_type.to_owned(), payload: b"p".to_vec(), ..Event::default() };
    Said { event: Some(event), ..Said::default() }
}

#[tokio::test]
async fn events_are_delivered_to_subscribers_of_their_type() {
    let gateway = open_gateway().await;
    let (publisher, _) = Peer::connect(gateway.grpc, "", &[], "").await.unwrap();
    let (mut subscriber, _) = Peer::connect(gateway.grpc, "", &[], "").await.unwrap();
    subscriber.say(&subscription(0, &["post.created", "post.deleted"]));
    // What a stream says is read in order, so an error proves that it is subscribed.
    subscriber.say(&event(""));
    assert_eq!(subscriber.hear().await.unwrap().status.unwrap().status, ERROR);
    publisher.say(&event("post.edited"));
    publisher.say(&event("post.created"));
    let heard = subscriber.hear().await.unwrap().event.unwrap();
    assert_eq!((heard.event_type.as_str(), &heard.payload[..]), ("post.created", &b"p"[..]));
    assert!(!heard.event_id.is_empty() && heard.timestamp > 0, "{heard:?}");
    subscriber.say(&subscription(1, &["post.created"]));
    subscriber.say(&event(""));
    assert_eq!(subscriber.hear().await.unwrap().status.unwrap().status, ERROR);
    publisher.say(&event("post.created"));
    publisher.say(&event("post.deleted"));
    assert_eq!(subscriber.hear().await.unwrap().event.unwrap().event_type, "post.deleted");
    gateway.stop().await;
}
