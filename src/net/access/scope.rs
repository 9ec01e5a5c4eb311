//! Where a key may do it.

use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every collection, those to come as well, and the server itself.
    Everything,
    /// These collections, whether they exist or not, and nothing else.
    Collections(BTreeSet<String>),
}

impl Scope {
    /// Everything when none is named.
    pub fn of(collections: impl IntoIterator<Item = String>) -> Scope {
        let named: BTreeSet<String> = collections.into_iter().collect();
        if named.is_empty() { Scope::Everything } else { Scope::Collections(named) }
    }

    pub fn is_everything(&self) -> bool {
        *self == Scope::Everything
    }

    pub fn has(&self, collection: &str) -> bool {
        match self {
            Scope::Everything => true,
            Scope::Collections(named) => named.contains(collection),
        }
    }

    /// The names, in order; none when it is everything.
    pub fn collections(&self) -> impl Iterator<Item = &str> {
        let named = match self {
            Scope::Everything => None,
            Scope::Collections(named) => Some(named),
        };
        named.into_iter().flatten().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_has_its_collections_and_no_others() {
        let scope = Scope::of(["a".to_owned(), "b".to_owned()]);
        assert!(scope.has("a") && scope.has("b") && !scope.has("c") && !scope.has("A") && !scope.has(""));
        assert!(!scope.is_everything());
        assert!(Scope::of([]).is_everything() && Scope::of([]).has("c"));
        assert_eq!(scope.collections().collect::<Vec<_>>(), ["a", "b"]);
    }
}
