//! A filter made ready for documents that no index decides: the metadata of each is read once, from front to end,
//! however many tests there are, and in steps.
//!
//! [`Filter::matches`] reads all of the metadata for each test: thousands of tests of large metadata stop a core for
//! minutes.
//!
//! Names are sorted, so those that go on inside of a member are a stretch of them, and a member's place among them is
//! found by halving. What a test asks of values is sorted by name and value: a value finds the tests that it meets
//! without going over the others, and none is met twice.

use std::cmp::Ordering;
use std::ops::{Bound, Range};

use super::{FieldTest, Filter, Test, is_above, is_below};
use crate::limits;
use crate::shard::document::fields::FieldType;
use crate::shard::document::json::{Json, Kind, Place, Scanner};
use crate::shard::document::metadata::Metadata;
use crate::shard::document::scalar::Scalar;

const LEVELS: usize = limits::METADATA_DEPTH_ENTRIES_MAX + 1;
/// What a member or an element costs besides its text, and each halving of the names that it may be one of.
const PART_COST: usize = 24;
const HALVING_COST: usize = 4;

/// Groups of probes of one name, in their order.
const GROUPS: usize = 6;
const EQUAL: usize = 0;
/// Numbers, then texts: ascending, so that a value meets the first ones.
const LOW: usize = 1;
/// The same: descending.
const HIGH: usize = 3;
const WITHIN: usize = 5;

#[derive(Debug)]
pub struct Sieve<'f> {
    root: Node,
    tests: Vec<Asked>,
    /// Ascending, none twice.
    names: Vec<Name<'f>>,
    probes: Vec<Probe<'f>>,
}

#[derive(Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Test(usize),
}

#[derive(Debug)]
struct Asked {
    name: usize,
    of: Condition,
}

#[derive(Debug)]
enum Condition {
    Present,
    Met { or_absent: bool },
}

#[derive(Debug)]
struct Name<'f> {
    text: &'f str,
    kind: Option<FieldType>,
    /// Where each group of its probes begins, and where the last one ends.
    groups: [usize; GROUPS + 1],
}

impl Name<'_> {
    fn group(&self, group: usize) -> Range<usize> {
        self.groups[group]..self.groups[group + 1]
    }

    fn probes(&self) -> Range<usize> {
        self.groups[0]..self.groups[GROUPS]
    }

    fn behind(&self, skip: usize) -> &[u8] {
        &self.text.as_bytes()[skip..]
    }

    fn has_one_value(&self) -> bool {
        self.kind.is_some_and(|kind| !kind.is_list())
    }
}

/// What a test asks of one value.
#[derive(Debug)]
struct Probe<'f> {
    name: usize,
    test: usize,
    of: Wanted<'f>,
}

#[derive(Clone, Copy, Debug)]
enum Wanted<'f> {
    Equal(&'f Scalar<'static>),
    Low(&'f Bound<Scalar<'static>>),
    High(&'f Bound<Scalar<'static>>),
    Within(&'f Bound<Scalar<'static>>, &'f Bound<Scalar<'static>>),
}

impl Wanted<'_> {
    fn group(&self) -> usize {
        match self {
            Wanted::Equal(_) => EQUAL,
            Wanted::Low(bound) => LOW + usize::from(is_text(bound)),
            Wanted::High(bound) => HIGH + usize::from(is_text(bound)),
            Wanted::Within(..) => WITHIN,
        }
    }

    fn order(&self, other: &Wanted<'_>) -> Ordering {
        match (self, other) {
            (Wanted::Equal(one), Wanted::Equal(other)) => one.cmp(other),
            (Wanted::Low(one), Wanted::Low(other)) => of_bound(one).cmp(&of_bound(other)),
            (Wanted::High(one), Wanted::High(other)) => {
                let ((one, one_is_open), (other, other_is_open)) = (of_bound(one), of_bound(other));
                other.cmp(&one).then(one_is_open.cmp(&other_is_open))
            }
            _ => self.group().cmp(&other.group()),
        }
    }
}

/// The value of a bound, and that it does not count itself.
fn of_bound<'a>(bound: &'a Bound<Scalar<'static>>) -> (Option<&'a Scalar<'static>>, bool) {
    match bound {
        Bound::Included(value) => (Some(value), false),
        Bound::Excluded(value) => (Some(value), true),
        Bound::Unbounded => (None, false),
    }
}

fn is_text(bound: &Bound<Scalar<'static>>) -> bool {
    matches!(of_bound(bound).0, Some(Scalar::Text(_)))
}

impl<'f> Sieve<'f> {
    pub fn new(filter: &'f Filter) -> Sieve<'f> {
        let mut tests = Vec::new();
        let root = node_of(filter, &mut tests);
        let mut by_name: Vec<usize> = (0..tests.len()).collect();
        by_name.sort_unstable_by_key(|test| &tests[*test].name);
        let (mut names, mut probes): (Vec<Name<'f>>, _) = (Vec::new(), Vec::new());
        let mut asked: Vec<Asked> =
            tests.iter().map(|test| Asked { name: 0, of: condition_of(test) }).collect();
        for test in by_name {
            let FieldTest { name, declared, test: of } = tests[test];
            if names.last().is_none_or(|last| last.text != name) {
                let kind = declared.map(|declared| declared.kind);
                names.push(Name { text: name, kind, groups: [0; GROUPS + 1] });
            }
            let name = names.len() - 1;
            asked[test].name = name;
            add_probes(of, |of| probes.push(Probe { name, test, of }));
        }
        probes.sort_unstable_by(|one: &Probe<'_>, other| {
            let place = |probe: &Probe<'_>| (probe.name, probe.of.group());
            place(one).cmp(&place(other)).then_with(|| one.of.order(&other.of))
        });
        let mut at = 0;
        for (name, of) in names.iter_mut().enumerate() {
            for group in 0..GROUPS {
                of.groups[group] = at;
                let is_in = |probe: &Probe<'_>| probe.name == name && probe.of.group() == group;
                at += probes[at..].iter().take_while(|probe| is_in(probe)).count();
            }
            of.groups[GROUPS] = at;
        }
        Sieve { root, tests: asked, names, probes }
    }
}

fn node_of<'f>(filter: &'f Filter, tests: &mut Vec<&'f FieldTest>) -> Node {
    let mut nodes = |parts: &'f [Filter]| parts.iter().map(|part| node_of(part, tests)).collect();
    match filter {
        Filter::All(parts) => Node::All(nodes(parts)),
        Filter::Any(parts) => Node::Any(nodes(parts)),
        Filter::Not(part) => Node::Not(Box::new(node_of(part, tests))),
        Filter::Field(test) => {
            tests.push(test);
            Node::Test(tests.len() - 1)
        }
    }
}

fn condition_of(test: &FieldTest) -> Condition {
    match test.test {
        Test::Exists => Condition::Present,
        Test::AnyOf { or_absent, .. } => Condition::Met { or_absent },
        Test::Within { .. } => Condition::Met { or_absent: false },
    }
}

fn add_probes<'f>(test: &'f Test, mut add: impl FnMut(Wanted<'f>)) {
    match test {
        Test::Exists => {}
        Test::AnyOf { values, .. } => values.iter().for_each(|value| add(Wanted::Equal(value))),
        Test::Within { low, high } => add(match (low, high) {
            (low, Bound::Unbounded) => Wanted::Low(low),
            (Bound::Unbounded, high) => Wanted::High(high),
            (low, high) => Wanted::Within(low, high),
        }),
    }
}

/// What is known of a name in the document that is read.
#[derive(Clone, Copy, Debug, Default)]
struct Finding {
    is_present: bool,
    is_null: bool,
    /// It should have one value, and that was seen.
    is_over: bool,
    /// So many bounds of each group are met, from [`LOW`] on.
    met: [usize; WITHIN - LOW],
}

/// A list or an object that is being read.
#[derive(Debug)]
struct Frame {
    place: Place,
    is_list: bool,
    sought: Sought,
}

/// What is looked for in a value.
#[derive(Clone, Debug)]
struct Sought {
    /// It is of this name.
    name: Option<usize>,
    /// These go on in it, behind `skip` bytes.
    names: Range<usize>,
    skip: usize,
    is_listed: bool,
}

/// Documents looked at through a sieve, one after the other.
pub struct Look<'s, 'f> {
    sieve: &'s Sieve<'f>,
    findings: Vec<Finding>,
    /// By test.
    met: Vec<bool>,
    /// By probe for equality.
    seen: Vec<bool>,
    /// Names that are present.
    touched: Vec<usize>,
    frames: Vec<Frame>,
    /// In the document that is being read.
    at: Option<usize>,
}

impl<'s, 'f> Look<'s, 'f> {
    pub fn new(sieve: &'s Sieve<'f>) -> Look<'s, 'f> {
        Look {
            sieve,
            findings: vec![Finding::default(); sieve.names.len()],
            met: vec![false; sieve.tests.len()],
            seen: vec![false; sieve.probes.len()],
            touched: Vec::new(),
            frames: Vec::new(),
            at: None,
        }
    }

    /// Reads on in a document until `budget`, in bytes about, is used up; whether the filter holds, when it is told. Then
    /// another document comes next.
    pub fn step(&mut self, metadata: Metadata<'_>, budget: &mut usize) -> Option<bool> {
        let depth = LEVELS - self.frames.len();
        let mut scanner = Scanner::resumed(metadata.text(), self.at.unwrap_or(0), depth);
        if self.at.is_none() {
            // What is no object has no members.
            let is_object = scanner.peek() == Ok(Kind::Object);
            let names = 0..if is_object { self.sieve.names.len() } else { 0 };
            self.open(&mut scanner, Sought { name: None, names, skip: 0, is_listed: false });
        }
        while !self.frames.is_empty() && *budget > 0 {
            let from = scanner.at();
            let Some(cost) = self.read_part(&mut scanner) else {
                // No JSON: read as far as it is.
                self.frames.clear();
                break;
            };
            *budget = budget.saturating_sub(cost + scanner.at() - from);
        }
        self.at = Some(scanner.at());
        if !self.frames.is_empty() {
            return None;
        }
        let holds = self.holds(&self.sieve.root);
        *budget = budget.saturating_sub(PART_COST + self.sieve.tests.len());
        self.forget();
        Some(holds)
    }

    /// The next member or element, or the end of the innermost list or object; what it costs besides its text.
    fn read_part(&mut self, scanner: &mut Scanner<'_>) -> Option<usize> {
        let frame = self.frames.last_mut()?;
        let place = &mut frame.place;
        if frame.is_list {
            if !scanner.element(place).ok()? {
                self.frames.pop();
                return Some(PART_COST);
            }
            let sought = Sought { is_listed: true, ..frame.sought.clone() };
            self.read_value(scanner, sought, true)?;
            return Some(PART_COST);
        }
        let Some(member) = scanner.member(place).ok()? else {
            self.frames.pop();
            return Some(PART_COST);
        };
        let halvings = usize::BITS - frame.sought.names.len().leading_zeros();
        let sought = self.sieve.inside(&frame.sought, &member.text()?);
        self.read_value(scanner, sought, false)?;
        Some(PART_COST + HALVING_COST * halvings as usize)
    }

    fn read_value(&mut self, scanner: &mut Scanner<'_>, sought: Sought, is_element: bool) -> Option<()> {
        let (kind, name) = (scanner.peek().ok()?, sought.name);
        match kind {
            // Lists in lists are values that equal nothing.
            Kind::Array if is_element => {
                name.iter().for_each(|name| self.see(*name, None, true));
                let nothing = Sought { name: None, names: 0..0, ..sought };
                self.open(scanner, nothing)
            }
            Kind::Array => {
                name.iter().for_each(|name| self.note(*name));
                self.open(scanner, sought)
            }
            Kind::Object => {
                name.iter().for_each(|name| self.see(*name, None, sought.is_listed));
                self.open(scanner, Sought { name: None, ..sought })
            }
            _ => {
                let json = scanner.value(LEVELS).ok()?;
                name.iter().for_each(|name| self.see(*name, Some(json), sought.is_listed));
                Some(())
            }
        }
    }

    fn open(&mut self, scanner: &mut Scanner<'_>, sought: Sought) -> Option<()> {
        let is_list = scanner.peek().ok()? == Kind::Array;
        let place = scanner.open(LEVELS).ok()?;
        self.frames.push(Frame { place, is_list, sought });
        Some(())
    }

    fn note(&mut self, name: usize) {
        if !std::mem::replace(&mut self.findings[name].is_present, true) {
            self.touched.push(name);
        }
    }

    /// A value of a name; none: a list or an object, which equals nothing. As [`super::super::fields::observe`].
    fn see(&mut self, name: usize, json: Option<Json<'_>>, is_listed: bool) {
        self.note(name);
        let (of, finding) = (&self.sieve.names[name], &mut self.findings[name]);
        let is_single = of.has_one_value();
        if finding.is_over || is_single && is_listed {
            return;
        }
        finding.is_over = is_single;
        let Some(json) = json else { return };
        if json.kind() == Kind::Null {
            finding.is_null = true;
        } else if let Some(value) = of.kind.map_or_else(|| Scalar::of(json), |kind| kind.value(json).ok()) {
            self.meet(name, &value);
        }
    }

    /// Notes the tests that a value meets.
    fn meet(&mut self, name: usize, value: &Scalar<'_>) {
        let Look { sieve, findings, met, seen, .. } = self;
        let (of, finding) = (&sieve.names[name], &mut findings[name]);
        let equal = of.group(EQUAL);
        let first = sieve.probes[equal.clone()].partition_point(|probe| probe.of.is_below(value));
        for at in equal.start + first..equal.end {
            if !sieve.probes[at].of.is(value) || std::mem::replace(&mut seen[at], true) {
                break;
            }
            met[sieve.probes[at].test] = true;
        }
        for (count, group) in finding.met.iter_mut().zip(LOW..) {
            let left = &sieve.probes[of.group(group)][*count..];
            for probe in left.iter().take_while(|probe| probe.of.is_met_by(value)) {
                met[probe.test] = true;
                *count += 1;
            }
        }
        for probe in sieve.probes[of.group(WITHIN)].iter().filter(|probe| probe.of.is_met_by(value)) {
            met[probe.test] = true;
        }
    }

    fn holds(&self, node: &Node) -> bool {
        match node {
            Node::All(parts) => parts.iter().all(|part| self.holds(part)),
            Node::Any(parts) => parts.iter().any(|part| self.holds(part)),
            Node::Not(part) => !self.holds(part),
            Node::Test(test) => {
                let Asked { name, of } = &self.sieve.tests[*test];
                let finding = &self.findings[*name];
                match of {
                    Condition::Present => finding.is_present,
                    Condition::Met { or_absent } => {
                        self.met[*test] || *or_absent && (finding.is_null || !finding.is_present)
                    }
                }
            }
        }
    }

    /// Another document comes.
    fn forget(&mut self) {
        for name in self.touched.drain(..) {
            self.findings[name] = Finding::default();
            let probes = self.sieve.names[name].probes();
            self.seen[probes.clone()].fill(false);
            self.sieve.probes[probes].iter().for_each(|probe| self.met[probe.test] = false);
        }
        self.at = None;
    }
}

impl Wanted<'_> {
    fn is_below(&self, value: &Scalar<'_>) -> bool {
        matches!(self, Wanted::Equal(wanted) if (*wanted).cmp(value).is_lt())
    }

    fn is(&self, value: &Scalar<'_>) -> bool {
        matches!(self, Wanted::Equal(wanted) if (*wanted).cmp(value).is_eq())
    }

    fn is_met_by(&self, value: &Scalar<'_>) -> bool {
        match self {
            Wanted::Equal(_) => self.is(value),
            Wanted::Low(low) => is_above(value, low),
            Wanted::High(high) => is_below(value, high),
            Wanted::Within(low, high) => is_above(value, low) && is_below(value, high),
        }
    }
}

impl Sieve<'_> {
    /// What is looked for in a member of an object in which something is.
    fn inside(&self, object: &Sought, member: &str) -> Sought {
        let Sought { names, skip, is_listed, .. } = object;
        let (names, skip, member) = (names.clone(), *skip, member.as_bytes());
        let of = &self.names[names.clone()];
        let exact = of.partition_point(|name| name.behind(skip) < member);
        let name =
            of.get(exact).is_some_and(|name| name.behind(skip) == member).then_some(names.start + exact);
        // What begins with the member and a point.
        let first = of.partition_point(|name| order(name.behind(skip), member, b'.').is_lt());
        let count = of[first..].partition_point(|name| order(name.behind(skip), member, b'.' + 1).is_lt());
        let first = names.start + first;
        Sought { name, names: first..first + count, skip: skip + member.len() + 1, is_listed: *is_listed }
    }
}

/// Of a name and another one with `last` at its end.
fn order(name: &[u8], other: &[u8], last: u8) -> Ordering {
    let common = name.len().min(other.len());
    name[..common].cmp(&other[..common]).then_with(|| match name.get(other.len()) {
        // As long as the other one without its end, or shorter.
        None => Ordering::Less,
        Some(next) => next.cmp(&last).then_with(|| name.len().cmp(&(other.len() + 1))),
    })
}
