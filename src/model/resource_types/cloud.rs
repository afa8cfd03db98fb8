//! The clouds whose names typed resources have.

use super::Table;

/// One of Azure's clouds. It chooses the zones of typed resources, and what clients are told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Cloud {
    /// The public one.
    #[default]
    Commercial,
    /// That of the government of the United States.
    Government,
    /// That in China.
    China,
}

/// What names of a cloud end in, as its own clients are told them.
#[derive(Clone, Copy, Debug)]
pub struct Suffixes {
    /// Storage accounts.
    pub storage: &'static str,
    /// Key vaults.
    pub key_vault: &'static str,
    /// Managed HSMs.
    pub managed_hsm: &'static str,
    /// SQL servers.
    pub sql_server: &'static str,
    /// Container registries.
    pub container_registry: &'static str,
    /// Data Lake stores of the first generation; `None`: the cloud has none.
    pub data_lake_store: Option<&'static str>,
}

impl Cloud {
    /// Every cloud, in the order of the tables.
    pub const ALL: [Self; 3] = [Self::Commercial, Self::Government, Self::China];

    /// Its table.
    pub(super) fn table(self) -> Table {
        match self {
            Self::Commercial => include_str!("commercial.csv"),
            Self::Government => include_str!("government.csv"),
            Self::China => include_str!("china.csv"),
        }
    }

    /// The word of the file.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Its portal.
    pub fn portal(self) -> &'static str {
        match self {
            Self::Commercial => "https://portal.azure.com",
            Self::Government => "https://portal.azure.us",
            Self::China => "https://portal.azure.cn",
        }
    }

    /// For whom its clients ask tokens.
    pub fn audience(self) -> &'static str {
        match self {
            Self::Commercial => "https://management.azure.com/",
            Self::Government => "https://management.usgovcloudapi.net/",
            Self::China => "https://management.chinacloudapi.cn/",
        }
    }

    /// What its names end in.
    pub fn suffixes(self) -> Suffixes {
        match self {
            Self::Commercial => Suffixes {
                storage: "core.windows.net",
                key_vault: "vault.azure.net",
                managed_hsm: "managedhsm.azure.net",
                sql_server: "database.windows.net",
                container_registry: "azurecr.io",
                data_lake_store: Some("azuredatalakestore.net"),
            },
            Self::Government => Suffixes {
                storage: "core.usgovcloudapi.net",
                key_vault: "vault.usgovcloudapi.net",
                managed_hsm: "managedhsm.usgovcloudapi.net",
                sql_server: "database.usgovcloudapi.net",
                container_registry: "azurecr.us",
                data_lake_store: None,
            },
            Self::China => Suffixes {
                storage: "core.chinacloudapi.cn",
                key_vault: "vault.azure.cn",
                managed_hsm: "managedhsm.azure.cn",
                sql_server: "database.chinacloudapi.cn",
                container_registry: "azurecr.cn",
                data_lake_store: None,
            },
        }
    }
}

impl std::fmt::Display for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
