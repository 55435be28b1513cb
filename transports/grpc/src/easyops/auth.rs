//! `auth.AuthenticationService`: the public key of the cloud, and tokens.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use registry_api::ErrorKind;
use registry_api::access::{Access, Action, Credential, Principal};
use tonic::{Request, Response, Status};

use super::common::Void;
use super::identity::Identity;
use super::wire_auth::authentication_service_server::{
    AuthenticationService, AuthenticationServiceServer,
};
use super::wire_auth::{AuthenticateTokenRequest, KeyResponse, SignedAuthResponse};

/// Says who the holder of a token is: API keys of owners are tokens here, and their
/// owner is a service account.
#[derive(Debug)]
pub struct EasyopsAuth {
    identity: Arc<Identity>,
    access: Arc<dyn Access>,
}

/// Tells clouds apart, for people.
const CLOUD: &str = "portolan";

impl EasyopsAuth {
    /// The service, as `tonic` serves it.
    pub fn service(
        identity: Arc<Identity>,
        access: Arc<dyn Access>,
    ) -> AuthenticationServiceServer<Self> {
        AuthenticationServiceServer::new(Self { identity, access })
    }
}

#[tonic::async_trait]
impl AuthenticationService for EasyopsAuth {
    async fn signed_get_by_token(
        &self,
        request: Request<AuthenticateTokenRequest>,
    ) -> Result<Response<SignedAuthResponse>, Status> {
        let token = request.into_inner().token;
        let credential = Credential::key(token.clone());
        let refused = |reason: &str| SignedAuthResponse {
            public_message: "access denied".to_owned(),
            log_message: reason.to_owned(),
            ..SignedAuthResponse::default()
        };
        if credential.is_none() {
            return Ok(Response::new(refused("no token")));
        }
        let who = match self.access.authorize(&credential, &Action::Read).await {
            Ok(Principal::Owner(owner)) => owner.as_str().to_owned(),
            Ok(Principal::Master) => "master".to_owned(),
            Ok(_) => return Ok(Response::new(refused("the token is nobody's"))),
            Err(error) => match error.kind() {
                ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => {
                    return Ok(Response::new(refused("the token is not known")));
                }
                _ => return Err(Status::unavailable("nobody can tell")),
            },
        };
        let user = Some(self.identity.sign(&who, now()));
        Ok(Response::new(SignedAuthResponse {
            valid: true,
            user,
            token,
            ..SignedAuthResponse::default()
        }))
    }

    async fn get_public_signing_key(
        &self,
        _: Request<Void>,
    ) -> Result<Response<KeyResponse>, Status> {
        let key = self.identity.public_key().to_vec().into();
        Ok(Response::new(KeyResponse { key, cloud_name: CLOUD.to_owned() }))
    }
}

/// Seconds since 1970, which stand in what is signed; nothing here goes by them.
#[allow(clippy::disallowed_methods)] // The protocol says it so.
pub(super) fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
