//! Where models may lie and how the hub is reached.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// The hub that is asked where `HF_ENDPOINT` names no other.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Where a [`ModelStore`](super::ModelStore) looks, and how it reaches the hub.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Kiln's cache directory; models lie in `models/` below it. `None` where the system names no home.
    pub cache_dir: Option<PathBuf>,
    /// A directory of models chosen by the user (`KILN_MODELS`): models lie in it as `name` or `org/name`, or it is
    /// itself a model.
    pub kiln_models: Option<PathBuf>,
    /// The Hugging Face cache: the directory that holds `models--org--name` folders.
    pub hf_cache: Option<PathBuf>,
    /// A token for the hub. It is sent to the endpoint only, never to where that redirects.
    pub hf_token: Option<String>,
    /// The hub's address, without a slash at the end.
    pub hf_endpoint: String,
    /// Never reach for the network.
    pub offline: bool,
    /// Use the proxy that the environment names (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` and so on).
    pub proxy_from_env: bool,
}

impl StoreConfig {
    /// A store that knows one cache directory alone and never reaches for the network.
    pub fn offline(cache_dir: impl Into<PathBuf>) -> StoreConfig {
        StoreConfig {
            cache_dir: Some(cache_dir.into()),
            kiln_models: None,
            hf_cache: None,
            hf_token: None,
            hf_endpoint: DEFAULT_ENDPOINT.to_owned(),
            offline: true,
            proxy_from_env: false,
        }
    }

    /// Reads the environment: the one place that does.
    ///
    /// `KILN_CACHE`, else `kiln` in the system's cache directory; `KILN_MODELS`; and as Python's `huggingface_hub`
    /// does: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`; `HF_TOKEN`; `HF_ENDPOINT`;
    /// `HF_HUB_OFFLINE`. Variables that are set to nothing count as not set.
    pub fn from_env() -> StoreConfig {
        let dirs = directories::BaseDirs::new();
        let os_cache = dirs.as_ref().map(directories::BaseDirs::cache_dir);
        let home = dirs.as_ref().map(directories::BaseDirs::home_dir);
        StoreConfig::from_vars(&|name| std::env::var_os(name), os_cache, home)
    }

    fn from_vars(
        var: &dyn Fn(&str) -> Option<OsString>,
        os_cache: Option<&Path>,
        home: Option<&Path>,
    ) -> StoreConfig {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        let path = |name: &str| var(name).map(PathBuf::from);
        let text =
            |name: &str| var(name).and_then(|value| value.into_string().ok()).map(|s| s.trim().to_owned());
        let hf_home = || {
            path("HF_HOME")
                .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
                .or_else(|| home.map(|home| home.join(".cache").join("huggingface")))
        };
        let is_true = |value: String| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str());
        StoreConfig {
            cache_dir: path("KILN_CACHE").or_else(|| os_cache.map(|cache| cache.join("kiln"))),
            kiln_models: path("KILN_MODELS"),
            hf_cache: path("HF_HUB_CACHE").or_else(|| hf_home().map(|home| home.join("hub"))),
            hf_token: text("HF_TOKEN").filter(|token| !token.is_empty()),
            hf_endpoint: text("HF_ENDPOINT")
                .map(|endpoint| endpoint.trim_end_matches('/').to_owned())
                .filter(|endpoint| !endpoint.is_empty())
                .unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
            offline: text("HF_HUB_OFFLINE").is_some_and(is_true),
            proxy_from_env: true,
        }
    }
}

/// Written by hand so that a log never shows the token.
impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("cache_dir", &self.cache_dir)
            .field("kiln_models", &self.kiln_models)
            .field("hf_cache", &self.hf_cache)
            .field("hf_token", &self.hf_token.as_ref().map(|_| "(set)"))
            .field("hf_endpoint", &self.hf_endpoint)
            .field("offline", &self.offline)
            .field("proxy_from_env", &self.proxy_from_env)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(vars: &[(&str, &str)]) -> StoreConfig {
        let var =
            |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(*value));
        StoreConfig::from_vars(&var, Some(Path::new("/home/me/Library/Caches")), Some(Path::new("/home/me")))
    }

    #[test]
    fn defaults_follow_the_system() {
        let config = config(&[("KILN_CACHE", ""), ("HF_ENDPOINT", ""), ("HF_TOKEN", " ")]);
        assert_eq!(config.cache_dir.as_deref(), Some(Path::new("/home/me/Library/Caches/kiln")));
        assert_eq!(config.hf_cache.as_deref(), Some(Path::new("/home/me/.cache/huggingface/hub")));
        assert_eq!(config.hf_endpoint, DEFAULT_ENDPOINT);
        assert_eq!((config.kiln_models, config.hf_token, config.offline), (None, None, false));
    }

    #[test]
    fn variables_are_honoured() {
        let config = config(&[
            ("KILN_CACHE", "/c"),
            ("KILN_MODELS", "/m"),
            ("HF_HOME", "/hf"),
            ("HF_TOKEN", "hf_secret\n"),
            ("HF_ENDPOINT", "https://mirror.example/"),
            ("HF_HUB_OFFLINE", "true"),
        ]);
        assert_eq!(config.cache_dir.as_deref(), Some(Path::new("/c")));
        assert_eq!(config.kiln_models.as_deref(), Some(Path::new("/m")));
        assert_eq!(config.hf_cache.as_deref(), Some(Path::new("/hf/hub")));
        assert_eq!(config.hf_token.as_deref(), Some("hf_secret"));
        assert_eq!(config.hf_endpoint, "https://mirror.example");
        assert!(config.offline);
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn the_hub_cache_has_variables_of_its_own() {
        let hub = |vars| config(vars).hf_cache.unwrap();
        assert_eq!(hub(&[("HF_HUB_CACHE", "/h"), ("HF_HOME", "/hf")]), Path::new("/h"));
        assert_eq!(hub(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert!(!config(&[("HF_HUB_OFFLINE", "0")]).offline);
    }
}
