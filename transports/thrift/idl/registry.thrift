// The registry over Thrift. Any Thrift client may speak it: framed, buffered or
// TTHeader, strict binary.
//
// Names, limits and clauses are those of docs/SPEC.md. Numbers that are unsigned
// in the contract (epochs, eras, revisions) are the same 64 bits as an i64.
// Enumerations are given by their numbers; a number that is not known is refused
// as InvalidArgument in a question, and ends the call with Corrupt in an answer.

namespace * portolan.registry

/** Who asks: every question begins with it. */
struct Caller {
  1: string space           // the namespace
  2: string credential      // an API key; empty for none
}

enum Phase { STARTING = 0, READY = 1, DRAINING = 2 }
enum Health { ONLINE = 0, OFFLINE = 1 }
enum Cause { DEREGISTERED = 0, EXPIRED = 1, SUPERSEDED = 2, UNKNOWN = 3 }
enum BeatOutcome { RENEWED = 0, REVIVED = 1, SUPERSEDED = 2, UNKNOWN = 3 }
enum Mode { CREATE = 0, MERGE = 1, REPLACE = 2 }
enum KeyChange { KEEP = 0, ADD = 1, REVOKE = 2 }
enum Extent { ALL = 0, DECLARATIONS = 1, INSTANCE = 2, SERVICES = 3 }
enum Kind {
  ALREADY_EXISTS = 0, CLOSED = 1, COMPACTED = 2, CONFLICT = 3, CORRUPT = 4,
  INVALID_ARGUMENT = 5, NOT_FOUND = 6, OVERLOADED = 7, PERMISSION_DENIED = 8,
  TIMEOUT = 9, UNAUTHENTICATED = 10, UNAVAILABLE = 11, UNSUPPORTED = 12
}

struct Revision { 1: i64 era, 2: i64 number }
struct Terms { 1: i64 ttl_ms, 2: i64 ttd_ms }

struct Offer {
  1: string service
  2: list<string> addresses
  3: string version
  4: i64 weight
  5: string zone
  6: map<string, string> metadata
}

struct InstanceSpec {
  1: string id
  2: optional i64 epoch     // absent: the registry chooses one that supersedes
  3: Terms terms
  4: i32 phase
  5: list<Offer> offers
}

struct InstanceRef { 1: string id, 2: i64 epoch }

struct Beat { 1: string id, 2: i64 epoch, 3: optional binary token }

struct Lease {
  1: string id
  2: i64 epoch
  3: Terms terms
  4: optional binary token
  5: Revision revision
}

struct Instance {
  1: string id
  2: i64 epoch
  3: Terms terms
  4: i32 phase
  5: list<Offer> offers
  6: Revision revision
  7: i32 health
}

struct Route { 1: string path, 2: string method }

struct Endpoint {
  1: string name
  2: optional i64 mean_us
  3: optional i64 p95_us
  4: list<string> roles
  5: bool idempotent
}

struct ServiceSpec {
  1: string name
  2: string version
  3: string description
  4: string idl
  5: map<string, string> idl_includes
  6: list<Route> routes
  7: list<Endpoint> endpoints
  8: map<string, string> metadata
}

struct ServiceRecord {
  1: ServiceSpec spec
  2: string owner
  3: list<binary> keys      // SHA-256; only for the owner and the operator
  4: Revision revision
}

struct Registration {
  1: string owner
  2: list<ServiceSpec> services
  3: i32 mode
  4: i32 key_change
  5: optional binary key
}

struct Scope { 1: i32 extent, 2: string instance, 3: list<string> services }

struct Filter {
  1: list<i32> phases
  2: optional i32 health
  3: optional string transport
  4: optional string zone
  5: optional string version
  6: map<string, string> metadata
}

struct Query { 1: Scope scope, 2: Filter filter }

struct View {
  1: Revision revision
  2: list<ServiceRecord> services
  3: list<Instance> instances
}

struct Removal { 1: string id, 2: i64 epoch, 3: i32 cause }
struct Judgement { 1: string id, 2: i64 epoch, 3: i32 health }

/** Exactly one of them. */
struct Event {
  1: optional Instance upsert
  2: optional Removal remove
  3: optional Judgement health
  4: optional ServiceRecord service
  5: optional string service_removed
}

struct Changes { 1: Revision revision, 2: list<Event> events }

/** Exactly one of them. */
struct WatchItem {
  1: optional View reset
  2: optional Changes changes
  3: optional Revision progress
}

exception RegistryError {
  1: i32 kind
  2: string message
  3: bool may_have_applied
  4: optional i64 retry_after_ms
  5: map<string, string> facts
}

struct Connected { 1: optional Lease lease, 2: optional RegistryError error }

struct Limits {
  1: i64 min_ttl_ms
  2: i64 ttl_granularity_ms
  3: i64 detection_slack_ms
  4: i64 progress_interval_ms
  5: i64 watch_backlog
}

struct Info { 1: list<string> capabilities, 2: Limits limits }

/** What came of a poll. An error is the last thing a watch says. */
struct Polled { 1: list<WatchItem> items, 2: optional RegistryError error }

service Registry {
  Info info(1: Caller caller) throws (1: RegistryError error)

  list<ServiceRecord> register(1: Caller caller, 2: Registration registration)
      throws (1: RegistryError error)
  void deregister(1: Caller caller, 2: string owner, 3: list<string> services)
      throws (1: RegistryError error)

  list<Connected> connect(1: Caller caller, 2: list<InstanceSpec> instances)
      throws (1: RegistryError error)
  list<i32> heartbeat(1: Caller caller, 2: list<Beat> beats) throws (1: RegistryError error)
  void disconnect(1: Caller caller, 2: list<InstanceRef> instances)
      throws (1: RegistryError error)

  View resolve(1: Caller caller, 2: Query query) throws (1: RegistryError error)

  /** Opens a watch; it is forgotten when nobody polls it for a minute. */
  i64 watch(1: Caller caller, 2: Scope scope, 3: optional Revision after)
      throws (1: RegistryError error)

  /**
   * What a watch has to say: at once if there is something, else as soon as
   * there is, at most wait_ms later with nothing. NotFound: open it again.
   */
  Polled poll(1: Caller caller, 2: i64 watch, 3: i32 wait_ms) throws (1: RegistryError error)

  /** Lets go of a watch. */
  oneway void unwatch(1: Caller caller, 2: i64 watch)
}
