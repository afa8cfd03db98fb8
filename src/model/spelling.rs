//! Names that may be written in several ways: regions, subresources, members.

use super::{LinkResource, PrivateEndpoint};

/// A region in Azure's form: `West Europe` is `westeurope`.
#[must_use]
pub fn region(text: &str) -> String {
    text.split_whitespace().collect::<String>().to_lowercase()
}

/// The public name of a member. A subresource without named members has one member with its own name.
#[must_use]
pub fn member_name<'a>(subresource: &'a str, member: &'a str) -> &'a str {
    if member.is_empty() { subresource } else { member }
}

/// Whether `name` names no particular member: it means the only one.
fn means_the_only_one(name: &str) -> bool {
    name.is_empty() || name.eq_ignore_ascii_case("default")
}

impl LinkResource {
    /// The members of a subresource.
    fn members(&self, subresource: &str) -> Vec<&str> {
        let bound = self.targets.iter().filter(|target| target.subresource.eq_ignore_ascii_case(subresource));
        bound.map(|target| target.member.as_str()).collect()
    }

    /// The member that `name` means, as this resource spells it.
    fn member(&self, subresource: &str, name: &str) -> Option<&str> {
        let members = self.members(subresource);
        let called = members.iter().find(|member| member_name(subresource, member).eq_ignore_ascii_case(name));
        called.or(members.first().filter(|_| members.len() == 1 && means_the_only_one(name))).copied()
    }
}

impl PrivateEndpoint {
    /// Spells subresource and members as `resource`, to which it is bound, does.
    pub fn spell_as(&mut self, resource: &LinkResource) {
        let named = resource.targets.iter().find(|target| target.subresource.eq_ignore_ascii_case(&self.subresource));
        if let Some(target) = named {
            self.subresource.clone_from(&target.subresource);
        }
        for address in &mut self.addresses {
            if let Some(member) = resource.member(&self.subresource, &address.member) {
                address.member = member.to_owned();
            }
        }
    }

    /// The public name of a member of the endpoint. `resource` is what it is bound to.
    pub fn shown_member(&self, resource: Option<&LinkResource>, member: &str) -> String {
        let member = resource.and_then(|resource| resource.member(&self.subresource, member)).unwrap_or(member);
        member_name(&self.subresource, member).to_owned()
    }

    /// The place of its address for the member that `name` means.
    pub fn address_for(&self, name: &str) -> Option<usize> {
        let called = |member: &str| member_name(&self.subresource, member).eq_ignore_ascii_case(name);
        let named = self.addresses.iter().position(|address| called(&address.member));
        named.or_else(|| (self.addresses.len() == 1 && means_the_only_one(name)).then_some(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EndpointIp;
    use crate::testing::{endpoint, resource, target};

    fn spelled(members: &[&str], subresource: &str, given: &[&str]) -> (String, Vec<String>, Vec<String>) {
        let targets = members.iter().map(|member| target("blob", member, "10.20.0.7")).collect();
        let bound = resource("core", "10.20.99.5", targets);
        let mut made = endpoint("spoke", None, "acct");
        made.subresource = subresource.into();
        made.addresses = given.iter().map(|name| EndpointIp { member: (*name).into(), ip: None }).collect();
        made.spell_as(&bound);
        let own: Vec<String> = made.addresses.iter().map(|address| address.member.clone()).collect();
        let shown = own.iter().map(|member| made.shown_member(Some(&bound), member)).collect();
        (made.subresource, own, shown)
    }

    #[test]
    fn members_and_subresources_are_spelled_as_their_resource_does() {
        for (members, subresource, given, own, shown) in [
            (&[""][..], "BLOB", "Blob", "", "blob"),
            (&[""], "blob", "", "", "blob"),
            (&[""], "Blob", "default", "", "blob"),
            (&["only"], "blob", "", "only", "only"),
            (&["only"], "blob", "ONLY", "only", "only"),
            (&["Default", "other"], "blob", "default", "Default", "Default"),
            (&["one", "two"], "blob", "TWO", "two", "two"),
            // Unknown names stay as they are: validation refuses them.
            (&["one", "two"], "blob", "default", "default", "default"),
            (&[""], "blob", "file", "file", "file"),
        ] {
            let expected = ("blob".to_owned(), vec![own.to_owned()], vec![shown.to_owned()]);
            assert_eq!(spelled(members, subresource, &[given]), expected, "{members:?} {given}");
        }
        assert_eq!(spelled(&[""], "table", &["x"]).0, "table");
    }

    #[test]
    fn an_address_is_found_by_every_name_of_its_member() {
        let mut made = endpoint("spoke", Some("10.1.9.4"), "acct");
        made.subresource = "blob".into();
        for name in ["", "default", "BLOB"] {
            assert_eq!(made.address_for(name), Some(0), "{name}");
        }
        assert_eq!(made.address_for("file"), None);
        made.addresses = ["one", "two"].map(|name| EndpointIp { member: name.into(), ip: None }).into();
        assert_eq!((made.address_for("Two"), made.address_for("default")), (Some(1), None));
    }

    #[test]
    fn a_region_has_one_spelling() {
        assert_eq!((region("West Europe"), region(" westEurope ")), ("westeurope".into(), "westeurope".into()));
    }
}
