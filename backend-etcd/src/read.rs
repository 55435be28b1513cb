//! Questions: single keys, and everything at one revision.

use etcd_client::{Client, GetOptions, KeyValue, Txn, TxnOp, TxnOpResponse};
use futures_util::future::try_join_all;
use registry_api::Era;

use crate::fault::Failed;
use crate::store::{Store, no_era};

/// The most operations etcd takes in a transaction, as it comes.
pub(crate) const MOST: usize = 128;
/// Keys asked for at once.
const PAGE: i64 = 1_000;

/// Everything below the root, as it was at one revision.
pub(crate) struct Snapshot {
    pub(crate) revision: u64,
    pub(crate) era: Era,
    pub(crate) kvs: Vec<KeyValue>,
}

/// How far the namespace has got.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// etcd's own revision.
    pub(crate) now: u64,
    pub(crate) era: Era,
    /// The last write to this namespace.
    pub(crate) commit: u64,
}

/// An answer about single keys.
pub(crate) struct Answered {
    pub(crate) revision: u64,
    /// In the order of the questions.
    pub(crate) kvs: Vec<Option<KeyValue>>,
}

/// What a question about a key is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Value,
    /// Whether it is there, and on which lease.
    Presence,
}

impl Store {
    /// How far it has got: what was written before this was asked is before it.
    pub(crate) async fn head(&self) -> Result<Head, Failed> {
        let asked = [(self.keys.era(), Wanted::Value), (self.keys.commit(), Wanted::Presence)];
        let Answered { revision, kvs } = self.get(&asked).await?;
        let era = kvs.first().and_then(Option::as_ref).and_then(era_of);
        let commit = kvs.get(1).and_then(Option::as_ref).map_or(0, mod_revision);
        let era = era.ok_or_else(|| Failed::Refused(no_era()))?;
        Ok(Head { now: revision, era, commit })
    }

    /// Whether the last write as of `revision` was at that revision: not where etcd
    /// has another history by now. `None` where it does not keep it any more.
    pub(crate) async fn remembers(&self, revision: u64) -> Result<Option<bool>, Failed> {
        let key = self.keys.commit();
        let ask = |mut client: Client| {
            let options = GetOptions::new().with_keys_only().with_revision(signed(revision));
            let key = key.clone();
            async move { client.get(key, Some(options)).await }
        };
        match self.data.read(ask).await {
            Ok(answer) => Ok(Some(answer.kvs().first().map(mod_revision) == Some(revision))),
            Err(Failed::Compacted) => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    /// Single keys, at one revision as long as there are no more than [`MOST`].
    pub(crate) async fn get(&self, keys: &[(String, Wanted)]) -> Result<Answered, Failed> {
        let parts = keys.chunks(MOST).map(|part| {
            let gets: Vec<_> = part.iter().map(|(key, wanted)| get(key, *wanted)).collect();
            self.transact(Txn::new().and_then(gets))
        });
        let mut answered = Answered { revision: 0, kvs: Vec::with_capacity(keys.len()) };
        for answer in try_join_all(parts).await? {
            answered.revision = answer.header().map_or(0, |header| unsigned(header.revision()));
            answered.kvs.extend(answer.op_responses().into_iter().map(|response| match response {
                TxnOpResponse::Get(mut got) => got.take_kvs().pop(),
                _ => None,
            }));
        }
        Ok(answered)
    }

    /// Everything that is followed, at `revision` or as it is now.
    pub(crate) async fn snapshot(&self, revision: Option<u64>) -> Result<Snapshot, Failed> {
        let mut kvs = Vec::new();
        let mut at = revision;
        for prefix in self.prefixes() {
            at = Some(self.read_all(&prefix, at, &mut kvs).await?);
        }
        let era = kvs.iter().find(|kv| kv.key() == self.keys.era().as_bytes()).and_then(era_of);
        let era = era.ok_or_else(|| Failed::Refused(no_era()))?;
        Ok(Snapshot { revision: at.unwrap_or_default(), era, kvs })
    }

    /// Adds everything that begins with `prefix`; the revision it is of.
    async fn read_all(
        &self,
        prefix: &str,
        revision: Option<u64>,
        kvs: &mut Vec<KeyValue>,
    ) -> Result<u64, Failed> {
        let end = end_of(prefix);
        let mut from = prefix.as_bytes().to_vec();
        let mut at = revision;
        loop {
            let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE);
            let options = options.with_revision(at.map_or(0, signed));
            let ask = |client: Client| {
                let (from, options) = (from.clone(), options.clone());
                let mut kv = client.kv_client().max_decoding_message_size(LARGEST);
                async move { kv.get(from, Some(options)).await }
            };
            let mut answer = self.data.read(ask).await?;
            at = at.or(answer.header().map(|header| unsigned(header.revision())));
            let more = answer.more();
            kvs.extend(answer.take_kvs());
            match kvs.last() {
                Some(last) if more => from = [last.key(), &[0]].concat(),
                _ => return Ok(at.unwrap_or_default()),
            }
        }
    }
}

/// More than any page of ours: values have at most 1.5 MiB where etcd is set up
/// as it comes, and most have some hundred bytes.
const LARGEST: usize = 256 * 1024 * 1024;

/// One question.
pub(crate) fn get(key: &str, wanted: Wanted) -> TxnOp {
    let options = GetOptions::new();
    let options = if wanted == Wanted::Presence { options.with_keys_only() } else { options };
    TxnOp::get(key, Some(options))
}

/// Where the keys that begin with `prefix` end.
pub(crate) fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    // Prefixes of ours end with a slash, so there is something to count up.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

pub(crate) fn era_of(kv: &KeyValue) -> Option<Era> {
    std::str::from_utf8(kv.value()).ok()?.parse().ok().map(Era)
}

/// The revision at which a key last changed.
pub(crate) fn mod_revision(kv: &KeyValue) -> u64 {
    unsigned(kv.mod_revision())
}

/// etcd's revisions have a sign, and no use for it.
pub(crate) fn unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or_default()
}

/// The other way.
pub(crate) fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
