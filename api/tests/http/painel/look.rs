//! How the dashboard looks and reads: contrast, widths, names for screen readers, languages, motion.

use super::*;

const VIEWS: [(&str, &str, &str); 3] = [
    (
        "overview",
        "#/",
        "document.querySelectorAll('#table tbody th').length > 0 && !document.querySelector('#table thead .small').textContent.endsWith('…')",
    ),
    ("asset", "#/ativo/BTC", "document.querySelector('#asset figure svg') !== null"),
    ("models", "#/modelos", "document.querySelectorAll('#models figure svg').length === 5"),
];

async fn view(page: &mut Page, hash: &str, shown: &str) {
    page.value(&format!("location.hash = '{hash}'")).await;
    page.until(shown).await;
}

/// Texts with less contrast to what is behind them than WCAG 2.2 asks for at level AA (1.4.3), and lines and edges of
/// controls (1.4.11). Texts count as small whatever their size.
const PALE: &str = "(() => {
    const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const luminance = (colour) => {
        const [r, g, b] = channels(colour).map((one) => one / 255).map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (one, other) => {
        const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
        return (high + 0.05) / (low + 0.05);
    };
    const behind = (node) => {
        for (let at = node; at; at = at.parentElement) {
            const { backgroundColor } = getComputedStyle(at);
            if (channels(backgroundColor)[3] !== 0) return backgroundColor;
        }
    };
    const found = [];
    let looked = 0;
    const demand = (node, colour, least, what) => {
        looked += 1;
        // Part of some charts lies on a darker ground.
        const grounds = [behind(node), ...(node.closest('figure svg') ? [...document.querySelectorAll('figure svg rect.seen')].slice(0, 1).map((rect) => getComputedStyle(rect).fill) : [])];
        for (const ground of grounds) {
            const ratio = contrast(colour, ground);
            if (ratio < least) found.push(`${what} ${colour} on ${ground}: ${ratio.toFixed(2)}`);
        }
    };
    for (const node of document.querySelectorAll('body *')) {
        if (!node.checkVisibility({ visibilityProperty: true }) || node.closest('.unseen, option')) continue;
        const style = getComputedStyle(node);
        const text = [...node.childNodes].filter((child) => child.nodeType === Node.TEXT_NODE).map((child) => child.data.trim()).join('');
        if (text) demand(node, node.closest('svg') ? style.fill : style.color, 4.5, text);
        if (node.matches('path.close, path.predicted, path.miss, path.rate, line.error, line.chance-line')) demand(node, style.stroke, 3, node.className.baseVal);
        if (node.matches('circle')) demand(node, style.fill, 3, node.className.baseVal);
        if (node.matches('input, select, button') && style.borderTopWidth !== '0px') demand(node, style.borderTopColor, 3, node.outerHTML.slice(0, 40));
    }
    return { looked, found: [...new Set(found)] };
})()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_has_the_contrast_of_wcag_aa_and_fits_from_phone_to_desk() {
    let Some(browser) = installed() else { return };
    let server = with_past(many(1, 40)).await;
    let mut page = opened(&server, browser, "/painel", DESK).await;
    for (name, hash, shown) in VIEWS {
        for width in [360, 768, 1024, 1440, 1920] {
            for dark in [false, true] {
                page.look(Look { width, height: 800, dark, ..DESK }).await;
                view(&mut page, hash, shown).await;
                let pale = page.value(PALE).await;
                assert_eq!(pale["found"], json!([]), "{name}, {width}, dark: {dark}");
                assert!(pale["looked"].as_u64() > Some(20), "{pale}");
            }
            let fits = "document.documentElement.scrollWidth <= innerWidth
                && [...document.querySelectorAll('main > section')].every((part) => part.scrollWidth <= part.clientWidth)";
            assert_eq!(page.value(fits).await, true, "{name} is wider than {width}");
        }
    }
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_screen_reader_finds_a_name_for_whatever_it_meets() {
    let Some(browser) = installed() else { return };
    let server = with_past(many(1, 40)).await;
    let mut page = opened(&server, browser, "/painel", DESK).await;
    let mut met: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (view_name, hash, shown) in VIEWS {
        view(&mut page, hash, shown).await;
        let tree = page.command("Accessibility.getFullAXTree", json!({})).await;
        for node in tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] == false) {
            let role = node["role"]["value"].as_str().unwrap_or_default();
            let name = node["name"]["value"].as_str().unwrap_or_default();
            let named = [
                "RootWebArea",
                "button",
                "link",
                "searchbox",
                "combobox",
                "table",
                "region",
                "navigation",
                "search",
                "article",
                "image",
                "heading",
                "columnheader",
                "rowheader",
                "DisclosureTriangle",
            ];
            if named.contains(&role) {
                assert!(!name.trim().is_empty(), "{view_name}: a nameless {role}: {node}");
                met.entry(role.to_owned()).or_default().push(name.to_owned());
            }
        }
    }
    let has = |role: &str, name: &str| met.get(role).is_some_and(|names| names.iter().any(|one| one == name));
    for (role, name) in [
        ("RootWebArea", "Previsões"),
        ("navigation", "Visões"),
        ("searchbox", "Buscar"),
        ("combobox", "Mostrar"),
        ("combobox", "Comparar com"),
        ("table", "Ativos e o que cada modelo prevê para o dia seguinte"),
        ("columnheader", "regressor_rf acerto"),
        ("rowheader", "BTC"),
        ("heading", "BTC"),
        ("button", "Fechar"),
        ("article", "regressor_rf em uso"),
    ] {
        let begins = met.get(role).is_some_and(|names| names.iter().any(|one| one.starts_with(name)));
        assert!(has(role, name) || begins, "no {role} {name:?} in {met:#?}");
    }
    let charts = &met["image"];
    assert!(
        charts
            .iter()
            .any(|name| name.starts_with("Fechamentos de BTC de 30 de abr. de 2025 a 28 de jul. de 2025")),
        "{charts:#?}"
    );
    assert!(
        charts.iter().any(|name| name.starts_with("Acerto de direção de regressor_rf de ")),
        "{charts:#?}"
    );
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_written_as_where_the_reader_lives() {
    let Some(browser) = installed() else { return };
    let server = Server::serving(snapshot(1234)).await;
    let mut page = opened(&server, browser, "/painel", DESK).await;
    let close = "document.querySelector('[data-symbol=\"BTC\"] td.close').textContent";
    for (locale, language, expected) in [
        ("pt-BR", "pt-BR", "1.234,00"),
        ("en-US", "en", "1,234.00"),
        ("de-DE", "pt-BR", "1.234,00"),
        ("de-DE,en", "en", "1.234,00"),
    ] {
        page.speak(locale).await;
        page.visit(&format!("http://{}/painel", server.address)).await;
        page.until("document.querySelectorAll('#table tbody th').length > 0").await;
        assert_eq!(page.value("document.documentElement.lang").await, language, "{locale}");
        assert_eq!(page.value(close).await, expected, "{locale}");
        // Ages have words in them, which are of the page's language.
        let age = page.value("document.querySelector('#summary').textContent").await;
        let ago = if language == "en" { "days ago" } else { "há " };
        assert!(age.as_str().unwrap().contains(ago), "{locale}: {age}");
    }
    check(&page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_lights_up_unless_the_reader_wants_no_motion() {
    let Some(browser) = installed() else { return };
    let server = Server::serving(many(1, 10)).await;
    let mut page = opened(&server, browser, "/painel", DESK).await;
    for (motion, generation, moves) in [("no-preference", 2, true), ("reduce", 3, false)] {
        let feature = json!({"name": "prefers-reduced-motion", "value": motion});
        page.command("Emulation.setEmulatedMedia", json!({"features": [feature]})).await;
        page.until("document.querySelector('#live').dataset.state === 'live'").await;
        server.publish(many(generation, 10)).await;
        page.until(&format!("document.querySelector('#table').dataset.generation === '{generation}'")).await;
        assert_eq!(page.value("document.querySelectorAll('#table tr.fresh').length").await, 10);
        assert_eq!(page.value("document.getAnimations().length > 0").await, moves, "{motion}");
    }
    check(&page);
}

/// For people to look at: every view in every size and both colours, in the folder that `CRIPTO_SCREENSHOTS` names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes pictures and asserts nothing"]
async fn pictures() {
    let folder = std::env::var("CRIPTO_SCREENSHOTS").unwrap();
    let server = with_past(many(1, 200)).await;
    let mut page = opened(&server, installed().unwrap(), "/painel", DESK).await;
    for (name, hash, shown) in VIEWS {
        for (size, width, height) in
            [("phone", 360, 740), ("tablet", 820, 1100), ("desk", 1440, 900), ("wide", 1920, 1080)]
        {
            for (colours, dark) in [("light", false), ("dark", true)] {
                page.look(Look { width, height, dark, ..DESK }).await;
                view(&mut page, hash, shown).await;
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                let picture = page.command("Page.captureScreenshot", json!({})).await;
                let decoded = page
                    .value(&format!(
                        "[...atob('{}')].map((one) => one.charCodeAt())",
                        picture["data"].as_str().unwrap()
                    ))
                    .await;
                let bytes: Vec<u8> = serde_json::from_value(decoded).unwrap();
                std::fs::write(format!("{folder}/{name}-{size}-{colours}.png"), bytes).unwrap();
            }
        }
    }
}
