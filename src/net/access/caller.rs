//! What a connection knows of its caller, and whether a request of his may go on.
//!
//! The order: cross-origin lines, the route, the key, the limit, the role and the scope. A caller with
//! a wrong key is limited by his address, so that keys cannot be tried out at will.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::audit::Action;
use super::decision::{Denial, Need, need_of};
use super::key::{KeyId, Presented};
use super::limiter::{Budget, Limiters, Passage, Rate};
use super::shared::Access;
use super::table::{Holder, Table};
use crate::net::hidden::same_bytes;
use crate::net::parser::head::{Head, Method};
use crate::net::problem::Problem;
use crate::net::response::number_line;
use crate::net::routes::{Class, Resource};
use crate::types::Mono;

/// What follows a request to its answer.
#[derive(Default)]
pub struct Trail {
    /// Further lines of its answer.
    pub lines: Vec<u8>,
    pub action: Option<Box<Action>>,
    pub admitted: Admitted,
}

/// As whom a request was admitted: what goes on for long asks whether it still would be.
#[derive(Clone, Default)]
pub enum Admitted {
    /// Nobody needed a key.
    #[default]
    Openly,
    /// It needs no key, whoever else does.
    Always,
    By(Rc<Remembered>),
}

pub enum Verdict {
    Pass,
    /// The question of a browser, which the lines of the trail answer.
    Preflight,
    Refused(Problem),
}

/// What a route may show to its caller.
#[derive(Clone, Copy)]
pub struct Permit<'a> {
    /// `None` where no key is needed.
    holder: Option<&'a Holder>,
    access: &'a Access,
}

impl<'a> Permit<'a> {
    pub fn shows(&self, collection: &str) -> bool {
        self.holder.is_none_or(|holder| holder.key.scope.has(collection))
    }

    /// Whose request it is; of nobody where no key is needed.
    pub fn key_id(&self) -> Option<KeyId> {
        self.holder.map(|holder| holder.key.id)
    }

    pub fn access(&self) -> &'a Access {
        self.access
    }
}

/// The key of this connection that was accepted last. Counted on this core: the holder is shared by all, and so would
/// its count be.
pub struct Remembered {
    /// The whole field, as it came.
    authorization: String,
    holder: Arc<Holder>,
}

pub struct Caller {
    access: Access,
    peer: SocketAddr,
    generation: u64,
    table: Arc<Table>,
    /// Nothing is to be looked at: no keys, no limits, no other origins.
    is_free: bool,
    address_limiters: Option<Arc<Limiters>>,
    remembered: Option<Rc<Remembered>>,
    /// The last request.
    admitted: Admitted,
}

impl Caller {
    pub fn new(access: Access, peer: SocketAddr, now: Mono) -> Caller {
        let address_limiters = access.limiters_of(peer.ip(), now);
        // Read first: a table that is published in between is taken again, not missed.
        let generation = access.generation();
        let table = access.table();
        let mut caller = Caller {
            access,
            peer,
            generation,
            table,
            is_free: false,
            address_limiters,
            remembered: None,
            admitted: Admitted::Openly,
        };
        caller.see_whether_free();
        caller
    }

    fn see_whether_free(&mut self) {
        let settings = self.access.settings();
        self.is_free = !self.table.needs_keys() && settings.rates.are_off() && settings.cors.is_off();
    }

    /// Judges a request, once.
    pub fn admit(
        &mut self,
        head: &Head<'_>,
        resource: Option<Resource<'_>>,
        class: Class,
        now: Mono,
    ) -> (Verdict, Trail) {
        self.keep_up();
        self.admitted = Admitted::Openly;
        let mut trail = Trail::default();
        // Nothing that steers the server is of another class, so nothing escapes the audit.
        if self.is_free && class != Class::Alone && self.strangeness(head).is_none() {
            return (Verdict::Pass, trail);
        }
        let cors = &self.access.settings().cors;
        cors.append_lines(head.fields.origin(), &mut trail.lines);
        if cors.takes_preflight(head, &mut trail.lines) {
            return (Verdict::Preflight, trail);
        }
        match self.judge(head, resource, now, &mut trail) {
            Ok(()) => {
                trail.admitted = self.admitted.clone();
                (Verdict::Pass, trail)
            }
            Err(problem) => (Verdict::Refused(problem), trail),
        }
    }

    /// For the request that was admitted last.
    pub fn permit(&self) -> Permit<'_> {
        Permit { holder: self.known().map(|holder| &**holder), access: &self.access }
    }

    /// False when the request that was admitted last would not be any more: its key was revoked.
    pub fn is_still_admitted(&mut self) -> bool {
        let admitted = self.admitted.clone();
        self.still_admits(&admitted)
    }

    /// The same of one that was admitted before.
    pub fn still_admits(&mut self, admitted: &Admitted) -> bool {
        self.keep_up();
        match admitted {
            Admitted::Openly => !self.table.needs_keys(),
            Admitted::Always => true,
            Admitted::By(known) => self.table.same_as(&known.holder).is_some(),
        }
    }

    pub fn audit(&self, trail: &Trail, status: u16) {
        if let Some(action) = &trail.action {
            self.access.audit().acted(action, status);
        }
    }

    /// Takes the table that is in force, and forgets a key that is not in it.
    fn keep_up(&mut self) {
        let generation = self.access.generation();
        if generation != self.generation {
            self.generation = generation;
            self.table = self.access.table();
            let same = |known: Rc<Remembered>| {
                let holder = self.table.same_as(&known.holder)?.clone();
                Some(Rc::new(Remembered { authorization: known.authorization.clone(), holder }))
            };
            self.remembered = self.remembered.take().and_then(same);
            self.see_whether_free();
        }
    }

    fn known(&self) -> Option<&Arc<Holder>> {
        match &self.admitted {
            Admitted::By(known) => Some(&known.holder),
            Admitted::Openly | Admitted::Always => None,
        }
    }

    fn judge(
        &mut self,
        head: &Head<'_>,
        resource: Option<Resource<'_>>,
        now: Mono,
        trail: &mut Trail,
    ) -> Result<(), Problem> {
        let resource = resource.ok_or_else(Problem::no_such_route)?;
        let need = need_of(resource, head.method, head.query);
        match need {
            Need::Public => {
                self.admitted = Admitted::Always;
                return Ok(());
            }
            Need::NoSuchMethod => return Err(Problem::method_not_allowed(resource.allow())),
            Need::AnyKey | Need::Collection { .. } | Need::Server { .. } => {}
        }
        let recognised = self.recognise(head);
        let outcome = self.charge(&need, now, trail).and(recognised).and_then(|()| self.require(&need, head));
        if let Err(denial) = outcome {
            self.access.audit().denied(denial, self.known().map(|holder| &**holder), self.peer, head, now);
            return Err(problem_of(denial, &need));
        }
        if need.is_admin() && !matches!(head.method, Method::Get | Method::Head) {
            trail.action = Some(Box::new(Action::of(head, self.known().cloned(), self.peer)));
        }
        Ok(())
    }

    /// Finds out whose key the request came with, if it needs one.
    fn recognise(&mut self, head: &Head<'_>) -> Result<(), Denial> {
        if !self.table.needs_keys() {
            return Ok(());
        }
        let shown = head.fields.authorization().ok_or(Denial::NoKey)?.reveal();
        let is_shown = |known: &Rc<Remembered>| same_bytes(known.authorization.as_bytes(), shown.as_bytes());
        let known = match self.remembered.clone().filter(is_shown) {
            Some(known) => known,
            None => {
                let presented = Presented::in_authorization(shown).ok_or(Denial::WrongKey)?;
                let holder = self.table.find(&presented).ok_or(Denial::WrongKey)?.clone();
                let known = Rc::new(Remembered { authorization: shown.to_owned(), holder });
                self.remembered.insert(known).clone()
            }
        };
        self.admitted = Admitted::By(known);
        Ok(())
    }

    /// Takes the request off the budget of its key, or of its address.
    fn charge(&self, need: &Need<'_>, now: Mono, trail: &mut Trail) -> Result<(), Denial> {
        let Some(budget) = need.budget() else { return Ok(()) };
        let Some(rate) = self.access.settings().rates.of(budget) else { return Ok(()) };
        let of_key = self.known().map(|holder| &holder.limiters);
        let Some(limiters) = of_key.or(self.address_limiters.as_ref()) else { return Ok(()) };
        let passage = limiters.of(budget).come(rate, now);
        append_limit_lines(budget, rate, passage, &mut trail.lines);
        if passage.is_open() { Ok(()) } else { Err(Denial::Rate) }
    }

    fn require(&self, need: &Need<'_>, head: &Head<'_>) -> Result<(), Denial> {
        match self.known() {
            Some(holder) => need.is_met_by(holder.key.role, &holder.key.scope),
            // Without keys everybody may do everything, on an address that only this machine reaches.
            None => self.strangeness(head).map_or(Ok(()), Err),
        }
    }
}

impl Caller {
    /// Where nothing asks for a key, any page that is open in a browser of this machine could write: browsers send what
    /// looks like a form without asking, and keep only the answer from it. They keep none from a page whose own name was
    /// made to point here. Its writes come with an origin, its reads with that name and nothing else to be known by. No
    /// page has a key that nobody gave it.
    fn strangeness(&self, head: &Head<'_>) -> Option<Denial> {
        if self.table.needs_keys() {
            return None;
        }
        let settings = self.access.settings();
        if matches!(head.method, Method::Get | Method::Head) {
            let is_strange = head.fields.domain().is_some_and(|host| !settings.hosts.allow(host));
            return is_strange.then_some(Denial::Host);
        }
        let is_strange = |origin| settings.cors.allowed(Some(origin)).is_none();
        head.fields.origin().is_some_and(is_strange).then_some(Denial::Page)
    }
}

/// The fields of draft-ietf-httpapi-ratelimit-headers.
fn append_limit_lines(budget: Budget, rate: Rate, passage: Passage, lines: &mut Vec<u8>) {
    let mut line = |name: &str, number: (&str, u64), time: (&str, u64)| {
        lines.extend_from_slice(name.as_bytes());
        lines.extend_from_slice(budget.name().as_bytes());
        number_line(number.0.as_bytes(), number.1, b"", lines);
        number_line(time.0.as_bytes(), time.1, b"\r\n", lines);
    };
    line("RateLimit-Policy: \"", ("\";q=", rate.burst()), (";w=", rate.window_seconds()));
    line("RateLimit: \"", ("\";r=", passage.left), (";t=", passage.reset_seconds()));
    if !passage.is_open() {
        number_line(b"Retry-After: ", passage.wait_seconds(), b"\r\n", lines);
    }
}

/// The same for a collection that does not exist and for one that is none of the caller's business.
fn problem_of(denial: Denial, need: &Need<'_>) -> Problem {
    match denial {
        Denial::NoKey => {
            Problem::new(401, "unauthorized", "this takes an API key: Authorization: Bearer KEY")
        }
        Denial::WrongKey => Problem::new(401, "unauthorized", "the API key is not valid"),
        Denial::Role => match need {
            Need::Collection { role, .. } | Need::Server { role } => {
                Problem::new(403, "forbidden", format!("this takes a key with the role {role}"))
            }
            Need::Public | Need::NoSuchMethod | Need::AnyKey => Problem::new(403, "forbidden", "not allowed"),
        },
        Denial::Scope => match need {
            Need::Server { .. } => {
                Problem::new(403, "forbidden", "this takes a key for everything, without collections")
            }
            Need::Public | Need::NoSuchMethod | Need::AnyKey | Need::Collection { .. } => {
                Problem::new(403, "forbidden", "the key is not for this collection")
            }
        },
        Denial::Page => {
            let detail = "a page of another origin sent this: its origin has to be among --cors-origins, or the \
                          server has to have API keys";
            Problem::new(403, "forbidden", detail)
        }
        Denial::Host => {
            let detail = "a server without API keys is read under localhost, an IP address or a name without a dot: \
                          this Host has to be among allowed_hosts (--allowed-hosts), or the server has to have API keys";
            Problem::new(403, "forbidden", detail)
        }
        Denial::Rate => {
            Problem::new(429, "rate_limited", "more requests came than the configured rate allows")
        }
    }
}

#[cfg(test)]
impl<'a> Permit<'a> {
    pub fn of_nobody(access: &'a Access) -> Permit<'a> {
        Permit { holder: None, access }
    }
}
