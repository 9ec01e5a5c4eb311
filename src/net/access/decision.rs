//! What each route needs.
//!
//! Invariant: every pair of a resource and a method has its arm here, and none is a wildcard: a new
//! resource does not compile before somebody has decided who may use it.

use super::limiter::Budget;
use super::role::Role;
use super::scope::Scope;
use crate::net::parser::head::Method;
use crate::net::parser::target::{Query, decode_segment};
use crate::net::routes::Resource;
use crate::shard::catalogue::DEFAULT_COLLECTION;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need<'a> {
    /// Nothing: anybody may ask, as often as he likes.
    Public,
    /// The resource does not have the method.
    NoSuchMethod,
    /// Any key; the answer shows no more than its scope.
    AnyKey,
    /// The role, for this collection, whose name is as it stands in the path.
    Collection { role: Role, name: &'a str },
    /// The role without a scope: it is about the server, or all collections.
    Server { role: Role },
}

/// Why a caller is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    NoKey,
    /// One that is malformed, unknown or revoked: which, nobody is told.
    WrongKey,
    Role,
    Scope,
    /// A page of an origin that is not configured, where nothing asks for a key.
    Page,
    /// A read under a name that could be anybody's, where nothing asks for a key.
    Host,
    Rate,
}

impl Denial {
    pub const ALL: [Denial; 7] = [
        Denial::NoKey,
        Denial::WrongKey,
        Denial::Role,
        Denial::Scope,
        Denial::Page,
        Denial::Host,
        Denial::Rate,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Denial::NoKey => "no_key",
            Denial::WrongKey => "wrong_key",
            Denial::Role => "role",
            Denial::Scope => "scope",
            Denial::Page => "page",
            Denial::Host => "host",
            Denial::Rate => "rate",
        }
    }
}

pub fn need_of<'a>(resource: Resource<'a>, method: Method<'_>, query: &str) -> Need<'a> {
    use Resource as R;
    let collection = |role, name| Need::Collection { role, name };
    let server = |role| Need::Server { role };
    let (read, write, admin) = (Role::Read, Role::Write, Role::Admin);
    match resource {
        R::CorePut => posting(method, collection(write, DEFAULT_COLLECTION)),
        R::CoreGet { .. } | R::CoreLookupFast { .. } | R::CoreLookup => {
            reading(method, collection(read, DEFAULT_COLLECTION))
        }
        R::Record { collection: name, .. } => match method {
            Method::Get | Method::Head => collection(read, name),
            Method::Put | Method::Delete => collection(write, name),
            Method::Post | Method::Patch | Method::Other(_) => Need::NoSuchMethod,
        },
        R::MultiGet { collection: name } => posting(method, collection(read, name)),
        R::Range { collection: name } => reading(method, collection(read, name)),
        // Its lines may also read, which every role that may write may do.
        R::Bulk { collection: name } => posting(method, collection(write, name)),
        R::Collections => reading(method, Need::AnyKey),
        R::Collection { name } => match method {
            Method::Get | Method::Head => collection(read, name),
            // A document.
            Method::Post => collection(write, name),
            Method::Put | Method::Delete => collection(admin, name),
            Method::Patch | Method::Other(_) => Need::NoSuchMethod,
        },
        R::Document { collection: name, .. } => match method {
            Method::Get | Method::Head => collection(read, name),
            Method::Put | Method::Patch | Method::Delete => collection(write, name),
            Method::Post | Method::Other(_) => Need::NoSuchMethod,
        },
        R::DocumentBulk { collection: name } => posting(method, collection(write, name)),
        R::Search { collection: name } | R::Count { collection: name } => {
            posting(method, collection(read, name))
        }
        // Tells names and keys of all collections.
        R::Router => reading(method, server(admin)),
        R::Rebalance | R::Compact | R::WarmUp | R::BuildIndexes | R::Snapshot => {
            posting(method, server(admin))
        }
        R::Snapshots | R::Operation { .. } | R::Operations => reading(method, server(admin)),
        R::OneSnapshot { .. } => match method {
            Method::Delete => server(admin),
            Method::Get | Method::Head | Method::Post | Method::Put | Method::Patch | Method::Other(_) => {
                Need::NoSuchMethod
            }
        },
        R::Health | R::Live | R::BuildInfo | R::OpenApi => reading(method, Need::Public),
        R::Ready => reading(method, if is_verbose(query) { server(read) } else { Need::Public }),
        R::Metrics => reading(method, server(read)),
    }
}

fn reading<'a>(method: Method<'_>, need: Need<'a>) -> Need<'a> {
    match method {
        Method::Get | Method::Head => need,
        Method::Post | Method::Put | Method::Delete | Method::Patch | Method::Other(_) => Need::NoSuchMethod,
    }
}

fn posting<'a>(method: Method<'_>, need: Need<'a>) -> Need<'a> {
    match method {
        Method::Post => need,
        Method::Get | Method::Head | Method::Put | Method::Delete | Method::Patch | Method::Other(_) => {
            Need::NoSuchMethod
        }
    }
}

/// Anything but a plain "no", also what the route will refuse.
fn is_verbose(query: &str) -> bool {
    let plain = Query::parse(query).map(|mut query| query.take("verbose"));
    !matches!(plain.as_ref().map(Option::as_deref), Ok(None | Some("false")))
}

impl Need<'_> {
    /// Which budget of its caller a request is on; `None` for what is not limited.
    pub fn budget(&self) -> Option<Budget> {
        match self {
            Need::Public | Need::NoSuchMethod => None,
            Need::AnyKey => Some(Budget::Data),
            Need::Collection { role: Role::Admin, .. } | Need::Server { .. } => Some(Budget::Admin),
            Need::Collection { role: Role::Read | Role::Write, .. } => Some(Budget::Data),
        }
    }

    /// Whether it steers the server, or what collections there are.
    pub fn is_admin(&self) -> bool {
        matches!(self, Need::Collection { role: Role::Admin, .. } | Need::Server { role: Role::Admin })
    }

    /// Whether a key with this role and scope meets it.
    pub fn is_met_by(&self, role: Role, scope: &Scope) -> Result<(), Denial> {
        match self {
            Need::Public | Need::NoSuchMethod | Need::AnyKey => Ok(()),
            Need::Server { role: wanted } | Need::Collection { role: wanted, .. }
                if !role.includes(*wanted) =>
            {
                Err(Denial::Role)
            }
            Need::Server { .. } if scope.is_everything() => Ok(()),
            Need::Server { .. } => Err(Denial::Scope),
            Need::Collection { name, .. } => {
                // What cannot be decoded names no collection, and the route says so to those who may ask.
                let is_inside = match decode_segment(name) {
                    Ok(name) => scope.has(&name),
                    Err(_) => scope.is_everything(),
                };
                if is_inside { Ok(()) } else { Err(Denial::Scope) }
            }
        }
    }
}
