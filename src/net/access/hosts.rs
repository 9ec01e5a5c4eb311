//! Under which names a server without keys is read (DNS rebinding).
//!
//! Anybody can make a name of his own point at 127.0.0.1. A page that was loaded under it has the same origin as the
//! server then, as its browser sees it, and reads all answers. The name stands in the `Host`, which no page can change.

use crate::limits;
use crate::net::parser::domain::name_of;

/// Names that belong to this server although others could own ones like them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    names: Vec<String>,
    any: bool,
}

impl Hosts {
    /// Of a list with commas; `*` is every name. `None` when one is no name.
    pub fn parse(list: &str) -> Option<Hosts> {
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        let names: Vec<String> = names.map(str::to_ascii_lowercase).collect();
        let any = names.iter().any(|name| name == "*");
        let fits = names.len() <= limits::ALLOWED_HOST_ENTRIES_MAX;
        (fits && names.iter().all(|name| name == "*" || is_name(name))).then_some(Hosts { names, any })
    }

    /// `host` is the domain name that a request came under, with its port.
    pub fn allow(&self, host: &str) -> bool {
        let name = name_of(host.as_bytes());
        self.any || self.names.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_a_list() {
        let hosts = Hosts::parse("db.example, DB.internal,").unwrap();
        for allowed in ["db.example", "DB.Example:3030", "db.internal."] {
            assert!(hosts.allow(allowed), "{allowed}");
        }
        assert!(!hosts.allow("a.db.example") && !hosts.allow("evil.example"));
        assert!(Hosts::parse("*").unwrap().allow("evil.example") && !Hosts::default().allow("evil.example"));
        for bad in ["http://db.example", "db.example:3030", "a b", "*.example"] {
            assert!(Hosts::parse(bad).is_none(), "{bad}");
        }
        assert!(Hosts::parse(&"a,".repeat(limits::ALLOWED_HOST_ENTRIES_MAX + 1)).is_none());
    }
}
