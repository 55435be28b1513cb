//! Defects of reads.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use registry_api::{
    Era, Error, ErrorKind, Query, Registry, Result, Revision, Scope, ServiceName, View,
};

use super::flawed::Defect;

/// Takes an error for an empty answer.
#[derive(Debug)]
struct EmptyOnError;

#[async_trait]
impl Defect for EmptyOnError {
    async fn resolve(&self, inner: &Arc<dyn Registry>, query: &Query) -> Result<View> {
        inner.resolve(query).await.or_else(|error| match error.kind() {
            ErrorKind::Unavailable => Ok(View {
                revision: Revision { era: Era(0), number: 0 },
                services: Vec::new(),
                instances: Vec::new(),
            }),
            _ => Err(error),
        })
    }
}

pub(super) fn empty_on_error() -> Arc<dyn Defect> {
    Arc::new(EmptyOnError)
}

/// Takes an error for an answer.
#[derive(Debug)]
struct NotFoundForUnreachable;

#[async_trait]
impl Defect for NotFoundForUnreachable {
    async fn resolve(&self, inner: &Arc<dyn Registry>, query: &Query) -> Result<View> {
        inner.resolve(query).await.map_err(|error| match error.kind() {
            ErrorKind::Unavailable => Error::new(ErrorKind::NotFound, "no such service"),
            _ => error,
        })
    }
}

pub(super) fn not_found_for_unreachable() -> Arc<dyn Defect> {
    Arc::new(NotFoundForUnreachable)
}

/// Lets an answer that was overtaken overwrite the newer one.
#[derive(Debug, Default)]
struct OldOverNew(Mutex<Option<(Query, View)>>);

#[async_trait]
impl Defect for OldOverNew {
    async fn resolve(&self, inner: &Arc<dyn Registry>, query: &Query) -> Result<View> {
        let fresh = inner.resolve(query).await?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.take() {
            Some((asked, old)) if asked == *query => Ok(old),
            _ => {
                *kept = Some((query.clone(), fresh.clone()));
                Ok(fresh)
            }
        }
    }
}

pub(super) fn old_over_new() -> Arc<dyn Defect> {
    Arc::new(OldOverNew::default())
}

/// Takes other names for the one that is asked.
#[derive(Debug)]
struct Confuses(fn(asked: &str, other: &str) -> bool);

#[async_trait]
impl Defect for Confuses {
    async fn resolve(&self, inner: &Arc<dyn Registry>, query: &Query) -> Result<View> {
        let Scope::Services(names) = &query.scope else {
            return inner.resolve(query).await;
        };
        let everything = inner.resolve(&Query::all()).await?;
        let meant = |other: &ServiceName| {
            names.iter().any(|asked| (self.0)(asked.as_str(), other.as_str()))
        };
        let declared = everything.services.iter().map(|record| record.spec.name.clone());
        let offered = everything.instances.iter().flat_map(|i| i.offers.iter());
        let offered = offered.map(|offer| offer.service.clone());
        let mut confused: Vec<_> = declared.chain(offered).filter(|n| meant(n)).collect();
        confused.extend(names.iter().cloned());
        let mut wider = query.clone();
        wider.scope = Scope::Services(confused);
        inner.resolve(&wider).await
    }
}

pub(super) fn prefix() -> Arc<dyn Defect> {
    Arc::new(Confuses(|asked, other| other.starts_with(asked)))
}

pub(super) fn case_folded() -> Arc<dyn Defect> {
    Arc::new(Confuses(|asked, other| other.eq_ignore_ascii_case(asked)))
}
