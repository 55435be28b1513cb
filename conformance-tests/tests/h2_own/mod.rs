//! The list, the brokers it is gone through on, and the hosts.

mod attempts;
mod broker;
mod discovery;
mod hostile;
mod peer;
mod python;
mod service;
mod topology;

use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use conformance_tests::Absent;
use conformance_tests::own::Outcome;
use conformance_tests::servers::{RabbitMq, Recipe, rabbitmq};
use portolan::call::{Call, CallError, Handler, Host, Reply};
use portolan::h2::{AmqpHost, Broker, HostOptions};
use portolan::{ServiceName, Target};

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Outcome>> + Send + 'a>>;
pub(crate) type Case = for<'a> fn(&'a Place) -> Running<'a>;

macro_rules! list {
    ($($module:ident { $($name:ident)* })*) => {
        /// Every case.
        pub(crate) fn cases() -> Vec<(&'static str, Case)> {
            vec![$($((stringify!($name), (|place| Box::pin($module::$name(place))) as Case)),*),*]
        }
    };
}

list! {
    attempts {
        h2_classic_asks_three_times_and_takes_a_late_answer
        only_what_may_be_run_twice_is_asked_again
    }
    broker {
        a_broker_that_takes_nothing_says_so_at_once
        what_is_deleted_behind_our_back_is_there_again
    }
    discovery {
        a_service_registers_is_pinged_and_goes_when_it_is_silent
        the_binder_shares_requests_over_an_exchange
        the_binder_shares_requests_without_plugins
        who_leaves_is_gone_and_strangers_are_refused
    }
    hostile {
        answers_that_are_none_hurt_no_call
        instances_never_answer_each_other
        junk_is_answered_or_dropped_and_hurts_nobody
        headers_that_cannot_be_read_hurt_nobody
        a_request_that_comes_again_is_answered_and_not_run
    }
    python {
        a_python_caller_is_answered_by_three_of_ours
        python_services_join_share_and_go
    }
    service {
        the_guides_service_is_listed_called_and_leaves
        who_may_is_said_by_sessions_and_nobody_else
        what_is_published_reaches_every_reader_once
        one_caller_does_not_take_the_room_of_another
        it_says_how_it_is
        a_service_that_cannot_be_is_refused_by_name
    }
    topology {
        a_hashing_exchange_shares_requests
        a_random_exchange_shares_requests
        without_plugins_one_queue_shares_requests
        an_exchange_that_appears_later_doubles_nothing
        an_instance_that_leaves_answers_what_it_has
    }
}

/// One broker for the cases that do not care which plugins it has.
#[derive(Default)]
pub(crate) struct Place {
    shared: OnceLock<Result<Arc<RabbitMq>, Absent>>,
}

impl Place {
    fn broker(&self) -> Result<Arc<RabbitMq>, Outcome> {
        let start = || rabbitmq(&Recipe::default()).map(Arc::new);
        Ok(self.shared.get_or_init(start).clone()?)
    }
}

/// A broker with these plugins and no other.
fn with_plugins(plugins: &[&'static str]) -> Result<RabbitMq, Outcome> {
    Ok(rabbitmq(&Recipe { plugins: plugins.to_vec(), ..Recipe::default() })?)
}

fn url(broker: &RabbitMq) -> String {
    format!("amqp://guest:guest@{}/%2f", broker.address())
}

/// Answers with what it got, and remembers it.
#[derive(Debug, Default)]
pub(super) struct Echo {
    ran: Mutex<Vec<String>>,
    pause: Duration,
}

impl Echo {
    fn slow(pause: Duration) -> Self {
        Self { pause, ..Self::default() }
    }

    /// What it has been called with.
    fn ran(&self) -> Vec<String> {
        self.ran.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        let text = String::from_utf8_lossy(&call.payload).into_owned();
        self.ran.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        tokio::time::sleep(self.pause).await;
        Ok(Reply::new(call.payload))
    }
}

/// An instance of a service.
pub(super) struct Instance {
    host: AmqpHost,
    echo: Arc<Echo>,
}

impl Instance {
    async fn serve(broker: &RabbitMq, service: &str, echo: Echo) -> Result<Self, Outcome> {
        let (name, at) = (ServiceName::parse(service)?, Broker::parse(&url(broker))?);
        let echo = Arc::new(echo);
        let handler = Arc::<Echo>::clone(&echo);
        let host = AmqpHost::serve(name, at, handler, HostOptions::default()).await?;
        Ok(Self { host, echo })
    }

    /// Its queue, which is its id.
    fn queue(&self) -> String {
        match self.host.offers()[0].addresses[0].target() {
            Target::Queue(queue) => queue.to_owned(),
            other => unreachable!("H2 has queues, not {other:?}"),
        }
    }
}
