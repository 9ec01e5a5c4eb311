//! Which hosts are domain names that somebody may own.

/// Without the port, and without the dot that ends a name of the root.
pub fn name_of(host: &[u8]) -> &[u8] {
    let end = host.iter().position(|byte| *byte == b':').unwrap_or(host.len());
    let name = &host[..end];
    name.strip_suffix(b".").unwrap_or(name)
}

/// False for what no stranger can make point at this machine: an address, `localhost` and what is below it, and a name
/// without a dot, which nobody can register. Browsers take what ends in a number for an address, or for nothing.
pub fn is_domain(host: &[u8]) -> bool {
    if host.first() == Some(&b'[') {
        return false;
    }
    let name = name_of(host);
    let Some(dot) = name.iter().rposition(|byte| *byte == b'.') else { return false };
    let last = &name[dot + 1..];
    let is_number = !last.is_empty() && last.iter().all(u8::is_ascii_digit);
    !is_number && !last.eq_ignore_ascii_case(b"localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_that_nobody_can_register_are_no_domains() {
        let ours = "a kyrodb:3030 127.0.0.1 127.0.0.1:3030 [::1] [::1]:3030 localhost LOCALHOST:1 a.localhost localhost. \
                    10.0.0.1. 0x7f000001";
        for host in ours.split(' ').chain([""]) {
            assert!(!is_domain(host.as_bytes()), "{host}");
        }
        let domains = "a.b a.b:3030 evil.example. evil.example.. 127.0.0.1.evil.example localhost.evil.example 1.2.3.4a a..b";
        for host in domains.split(' ') {
            assert!(is_domain(host.as_bytes()), "{host}");
        }
    }
}
