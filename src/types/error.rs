//! Refusals in Azure Resource Manager's envelope: `{"error":{"code","message","target","details"}}`.

use serde::{Deserialize, Serialize};

/// Code of the detail that says what to do about a refusal.
const REMEDY: &str = "Remedy";

/// Codes of refusals for what is there already, or depends on what is asked away: Azure answers most of them with 400.
const CONFLICTS: [&str; 12] = [
    "AddressInUse",
    "AlreadyExists",
    "DeviceInUse",
    "InUse",
    "InUseSubnetCannotBeDeleted",
    "NameInUse",
    "NetcfgSubnetRangesOverlap",
    "NetworkInterfaceNameInUse",
    "PrivateIPAddressInUse",
    "PrivateLinkServiceCannotBeDeletedWithPrivateEndpointConnections",
    "RoleDefinitionHasAssignments",
    "SharedBackend",
];

/// Body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// One error, or one detail of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// A word for programs, such as `ResourceNotFound`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// What it is about, such as the endpoint's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// More of the same; the one with code `Remedy` says what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<ErrorDetail>,
}

impl ErrorBody {
    /// An error without target or details.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        let error = ErrorDetail { code: code.into(), message: message.into(), target: None, details: Vec::new() };
        Self { error }
    }

    /// The same, about `target`.
    #[must_use]
    pub fn about(mut self, target: impl Into<String>) -> Self {
        self.error.target = Some(target.into());
        self
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.error.details.push(Self::new(REMEDY, remedy).error);
        self
    }

    /// Whether it contradicts what is there, as all its mistakes do where there are several.
    pub fn is_conflict(&self) -> bool {
        let is = |code: &str| CONFLICTS.contains(&code);
        let mut mistakes = self.error.details.iter().filter(|detail| detail.code != REMEDY).peekable();
        is(&self.error.code) || mistakes.peek().is_some() && mistakes.all(|detail| is(&detail.code))
    }

    /// Every single mistake, where there are several.
    pub fn mistakes(&self) -> impl Iterator<Item = &str> {
        self.error.details.iter().filter(|detail| detail.code != REMEDY).map(|detail| detail.message.as_str())
    }

    /// What to do about it, where that is known.
    pub fn remedies(&self) -> impl Iterator<Item = &str> {
        self.error.details.iter().filter(|detail| detail.code == REMEDY).map(|detail| detail.message.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_the_envelope_of_azure_resource_manager() {
        let body = ErrorBody::new("ResourceNotFound", "no endpoint `x`").about("x").with_remedy("list them");
        assert_eq!(
            serde_json::to_string(&body).expect("serialises"),
            r#"{"error":{"code":"ResourceNotFound","message":"no endpoint `x`","target":"x","details":[{"code":"Remedy","message":"list them"}]}}"#
        );
        assert_eq!(body.remedies().collect::<Vec<_>>(), ["list them"]);
    }
}
