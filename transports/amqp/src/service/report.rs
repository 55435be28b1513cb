//! What every service says of itself: the endpoints `health` and `stats`.
//!
//! Field numbers: HailoOSS `platform` at 39e911a, `proto/healthcheck`, `proto/stats`.

use prost::Message;
use serde::{Deserialize, Serialize};

/// A question without anything in it.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
pub(super) struct Nothing {}

#[derive(Clone, PartialEq, Message, Serialize)]
pub(super) struct Health {
    #[prost(message, repeated, tag = "1")]
    pub(super) healthchecks: Vec<HealthCheck>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HealthCheck {
    #[prost(int64, required, tag = "1")]
    pub(super) timestamp: i64,
    #[prost(string, required, tag = "2")]
    pub(super) service_name: String,
    #[prost(uint64, required, tag = "3")]
    pub(super) service_version: u64,
    #[prost(string, required, tag = "4")]
    pub(super) hostname: String,
    #[prost(string, required, tag = "5")]
    pub(super) instance_id: String,
    #[prost(string, required, tag = "6")]
    pub(super) health_check_id: String,
    #[prost(bool, required, tag = "7")]
    pub(super) is_healthy: bool,
    #[prost(string, optional, tag = "8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_description: Option<String>,
}

/// Rates are per second, times in milliseconds.
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stats {
    #[prost(string, required, tag = "1")]
    pub(super) service_name: String,
    #[prost(uint64, required, tag = "2")]
    pub(super) service_version: u64,
    #[prost(string, required, tag = "3")]
    pub(super) hostname: String,
    #[prost(string, required, tag = "4")]
    pub(super) instance_id: String,
    #[prost(string, required, tag = "5")]
    pub(super) status: String,
    #[prost(int64, required, tag = "6")]
    pub(super) timestamp: i64,
    /// In seconds, as H2's own services send it.
    #[prost(int64, required, tag = "7")]
    pub(super) uptime: i64,
    #[prost(message, required, tag = "8")]
    pub(super) rusage: Rusage,
    #[prost(message, required, tag = "9")]
    pub(super) runtime: Runtime,
    #[prost(message, repeated, tag = "10")]
    pub(super) endpoints: Vec<EndpointStats>,
    #[prost(string, optional, tag = "11")]
    pub(super) service_type: Option<String>,
    #[prost(string, optional, tag = "12")]
    pub(super) az_name: Option<String>,
}

#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndpointStats {
    #[prost(string, required, tag = "1")]
    pub(super) endpoint_name: String,
    #[prost(message, required, tag = "2")]
    pub(super) sla: Sla,
    #[prost(message, required, tag = "3")]
    pub(super) success: Stat,
    #[prost(message, required, tag = "4")]
    pub(super) error: Stat,
}

#[derive(Clone, Copy, PartialEq, Message, Serialize)]
pub(super) struct Sla {
    #[prost(float, required, tag = "1")]
    pub(super) mean: f32,
    #[prost(float, required, tag = "2")]
    pub(super) upper95: f32,
}

#[derive(Clone, Copy, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stat {
    #[prost(float, required, tag = "1")]
    pub(super) rate1: f32,
    #[prost(float, required, tag = "2")]
    pub(super) rate5: f32,
    #[prost(float, required, tag = "3")]
    pub(super) rate15: f32,
    #[prost(float, required, tag = "4")]
    pub(super) mean: f32,
    #[prost(float, required, tag = "5")]
    pub(super) std_dev: f32,
    #[prost(float, required, tag = "6")]
    pub(super) upper95: f32,
}

/// What the process has used; all zero where nobody can tell.
#[derive(Clone, Copy, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rusage {
    #[prost(float, required, tag = "1")]
    pub(super) user_time: f32,
    #[prost(float, required, tag = "2")]
    pub(super) system_time: f32,
    /// In KiB.
    #[prost(int64, required, tag = "3")]
    pub(super) max_rss: i64,
    #[prost(int64, required, tag = "4")]
    pub(super) in_block: i64,
    #[prost(int64, required, tag = "5")]
    pub(super) ou_block: i64,
}

/// Of Go's runtime, which is not here: all zero.
#[derive(Clone, Copy, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Runtime {
    #[prost(uint64, required, tag = "1")]
    pub(super) heap_in_use: u64,
    #[prost(uint64, required, tag = "2")]
    pub(super) heap_total: u64,
    #[prost(uint64, required, tag = "3")]
    pub(super) heap_released: u64,
    #[prost(uint64, required, tag = "4")]
    pub(super) last_gc_duration: u64,
    #[prost(uint32, required, tag = "5")]
    pub(super) num_gc: u32,
    #[prost(uint32, required, tag = "6")]
    pub(super) num_go_routines: u32,
}

impl Rusage {
    /// Of this process, on Linux.
    pub(super) fn of_this_process() -> Self {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let stat = read("/proc/self/stat");
        // After the name, which is in parentheses: the 12th and 13th field are times.
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks = |at: usize| rest.split(' ').nth(at).and_then(|text| text.parse::<f32>().ok());
        let seconds = |at| ticks(at).unwrap_or_default() / TICKS_PER_SECOND;
        let status = read("/proc/self/status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
        let (user_time, system_time) = (seconds(11), seconds(12));
        Self { user_time, system_time, max_rss: peak.unwrap_or_default(), ..Self::default() }
    }
}

/// What the kernel tells everybody, whatever its own clock.
const TICKS_PER_SECOND: f32 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_required_is_sent() {
        let check = HealthCheck { health_check_id: "c".to_owned(), ..HealthCheck::default() };
        let bytes = check.encode_to_vec();
        assert_eq!(bytes, b"\x08\0\x12\0\x18\0\x22\0\x2a\0\x32\x01c\x38\0");
        let json = serde_json::to_string(&check).unwrap();
        assert!(json.contains(r#""healthCheckId":"c""#) && json.contains("isHealthy"), "{json}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_knows_what_it_uses() {
        let used = Rusage::of_this_process();
        assert!(used.max_rss > 0 && used.user_time >= 0.0, "{used:?}");
    }
}
