//! What a run needs of the machine: a browser, its driver, and axe-core; and where pictures go.

use std::path::{Path, PathBuf};

#[derive(Clone)]
pub struct Tools {
    pub browser: PathBuf,
    pub driver: PathBuf,
    /// The source of axe-core, or where it was looked for.
    pub axe: Result<String, String>,
    /// For pictures.
    pub folder: PathBuf,
}

/// Why nothing runs.
pub enum Missing {
    /// Said, and no failure.
    Asked(String),
    Needed(String),
}

impl Tools {
    pub fn find() -> Result<Self, Missing> {
        let wish = setting("CAMPANILE_BROWSER").unwrap_or_else(|| "auto".into());
        match wish.as_str() {
            "off" => return Err(Missing::Asked("CAMPANILE_BROWSER is off".into())),
            "auto" | "require" => {}
            other => return Err(Missing::Needed(format!("CAMPANILE_BROWSER is {other:?}"))),
        }
        let is_required = wish == "require";
        let missing = |why: String| {
            if is_required {
                Missing::Needed(why)
            } else {
                Missing::Asked(why)
            }
        };
        let browser = on_path("chromium").ok_or_else(|| missing("there is no chromium on the PATH".into()))?;
        let driver = on_path("chromedriver").ok_or_else(|| missing("there is no chromedriver on the PATH".into()))?;
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let folder = target.join("browser");
        std::fs::create_dir_all(&folder).unwrap();
        let file = setting("CAMPANILE_AXE").map_or_else(|| folder.join("package/axe.min.js"), PathBuf::from);
        let axe =
            std::fs::read_to_string(&file).map_err(|error| format!("axe-core is not at {}: {error}", file.display()));
        match axe {
            Err(why) if is_required => Err(Missing::Needed(why)),
            axe => Ok(Self {
                browser,
                driver,
                axe,
                folder,
            }),
        }
    }
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn on_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
