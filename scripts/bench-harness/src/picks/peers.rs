//! Other balancers.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use pingora_load_balancing::LoadBalancer;
use pingora_load_balancing::selection::{Random, RoundRobin};
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PendingRequests};
use tower::{Service, ServiceExt};

fn addresses(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("10.0.{}.{}:8080", n >> 8, n & 255)).collect()
}

pub fn pingora_round_robin(count: usize) -> LoadBalancer<RoundRobin> {
    LoadBalancer::try_from_iter(addresses(count)).expect("addresses")
}

pub fn pingora_random(count: usize) -> LoadBalancer<Random> {
    LoadBalancer::try_from_iter(addresses(count)).expect("addresses")
}

/// A service that answers with its place.
pub struct Place(usize);

impl Service<()> for Place {
    type Response = usize;
    type Error = Infallible;
    type Future = Ready<Result<usize, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(self.0))
    }
}

pub type Tower = Balance<ServiceList<Vec<PendingRequests<Place>>>, ()>;

pub fn tower(count: usize) -> Tower {
    let place = |n| PendingRequests::new(Place(n), CompleteOnResponse::default());
    Balance::new(ServiceList::new::<()>((0..count).map(place).collect::<Vec<_>>()))
}

pub fn ready_and_call(balance: &mut Tower, operations: u64) {
    let calls = async {
        for _ in 0..operations {
            let service = balance.ready().await.expect("it is ready");
            black_box(service.call(()).await.expect("it answers"));
        }
    };
    calls.now_or_never().expect("nothing waits");
}
