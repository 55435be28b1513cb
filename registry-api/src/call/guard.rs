//! Who may call: asked before a handler sees a call.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Call, CallError, Handler, Reply};

/// Decides who may call.
pub trait Guard: Debug + Send + Sync + 'static {
    /// Lets a call in, and says in it who makes it; or tells why not.
    ///
    /// Errors: `Unauthenticated` where nobody believable calls, `PermissionDenied` for
    /// somebody who may not.
    fn admit(&self, call: &mut Call) -> Result<(), CallError>;
}

/// A handler behind a guard.
#[derive(Clone, Debug)]
pub struct Guarded {
    guard: Arc<dyn Guard>,
    handler: Arc<dyn Handler>,
}

impl Guarded {
    /// Shows `handler` the calls that `guard` lets in.
    pub fn new(guard: Arc<dyn Guard>, handler: Arc<dyn Handler>) -> Self {
        Self { guard, handler }
    }
}

#[async_trait]
impl Handler for Guarded {
    fn is_guarded(&self) -> bool {
        true
    }

    async fn handle(&self, mut call: Call) -> Result<Reply, CallError> {
        // Whoever made the call in this process may have said so; only the guard counts.
        call.identity = None;
        self.guard.admit(&mut call)?;
        self.handler.handle(call).await
    }
}
