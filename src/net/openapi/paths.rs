//! The path of each resource. A resource without one does not compile.

use crate::net::routes::Resource;

/// A path of the template.
pub fn sample(template: &str) -> String {
    let parts = template.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

pub fn template(resource: Resource<'_>) -> &'static str {
    match resource {
        Resource::CorePut => "/v1/put",
        Resource::CoreGet { .. } => "/v1/get_fast/{key}",
        Resource::CoreLookupFast { .. } => "/v1/lookup_fast/{key}",
        Resource::CoreLookup => "/v1/lookup",
        Resource::Record { .. } => "/v1/kv/{collection}/{key}",
        Resource::MultiGet { .. } => "/v1/kv/{collection}/mget",
        Resource::Bulk { .. } => "/v1/kv/{collection}/bulk",
        Resource::Range { .. } => "/v1/kv/{collection}",
        Resource::Collections => "/v1/collections",
        Resource::Collection { .. } => "/v1/collections/{collection}",
        Resource::Document { .. } => "/v1/collections/{collection}/docs/{id}",
        Resource::DocumentBulk { .. } => "/v1/collections/{collection}/bulk",
        Resource::Search { .. } => "/v1/collections/{collection}/search",
        Resource::Count { .. } => "/v1/collections/{collection}/count",
        Resource::Router => "/v1/router",
        Resource::Rebalance => "/v1/router/rebalance",
        Resource::Compact => "/v1/compact",
        Resource::WarmUp => "/v1/warmup",
        Resource::BuildIndexes => "/v1/rmi/build",
        Resource::Snapshot => "/v1/snapshot",
        Resource::Snapshots => "/v1/snapshots",
        Resource::OneSnapshot { .. } => "/v1/snapshots/{id}",
        Resource::Operations => "/v1/operations",
        Resource::Operation { .. } => "/v1/operations/{id}",
        Resource::Health => "/health",
        Resource::Live => "/livez",
        Resource::Ready => "/readyz",
        Resource::BuildInfo => "/build_info",
        Resource::Metrics => "/metrics",
        Resource::OpenApi => "/openapi.json",
    }
}
