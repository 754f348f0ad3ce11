"""The playground in a real browser, before a real server."""

import base64
import io
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Locator, Page, expect, sync_playwright

from serving.launcher import serving
from serving.runtime.artifact import read_manifest
from serving.runtime.manifest import MANIFEST_FILE, Evaluation
from serving.settings import Settings
from tests.reliability.swaps import exchange

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def measured(artifacts, tmp_path_factory):
    """The artifacts, one of them with scores."""
    place = tmp_path_factory.mktemp("measured") / "artifacts"
    shutil.copytree(artifacts, place)
    scores = {"frechet": 12.3456, "precision": 0.5}
    evaluation = Evaluation(
        data="glyphs:ABC",
        samples=1000,
        seed=0,
        features={"name": "classifier"},
        scores=scores,
        controls={"real": {"frechet": 1.0, "precision": 0.9}},
    )
    label = read_manifest(place / "classes").model_copy(update={"metrics": [evaluation]})
    (place / "classes" / MANIFEST_FILE).write_bytes(label.to_json())
    return place


@pytest.fixture(scope="module")
def url(measured, tmp_path_factory):
    log = tmp_path_factory.mktemp("playground") / "server.log"
    settings = Settings(artifacts=measured, provider="cpu", max_pixels=10_000, reload=0.2)
    with serving(settings, log) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        path = (
            shutil.which("chromium") or shutil.which("google-chrome") or playwright.chromium.executable_path
        )
        if not Path(path).exists():
            pytest.skip("there is no Chromium")
        started = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield started
        started.close()


@pytest.fixture
def open_page(browser, url):
    """Opens pages; none asks another host, complains, or is refused, but as is expected."""
    asked, complaints, contexts, refused = [], [], [], []

    def show(path: str = "/", at: str = url, size: dict[str, int] = WIDE, **options) -> Page:
        contexts.append(browser.new_context(viewport=size, accept_downloads=True, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(15_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("response", lambda answer: refused.append(answer.status) if answer.status >= 400 else None)
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(at + path)
        return page

    show.expected = set()
    yield show
    for context in contexts:
        context.close()
    assert [
        address for address in asked if not address.startswith((url, "blob:", "data:", "http://127."))
    ] == []
    assert [said for said in complaints if "Failed to load resource" not in said] == []
    assert set(refused) == show.expected


READ = """async (image) => {
    while (!image.src) await new Promise(requestAnimationFrame);
    await image.decode();
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    canvas.getContext("2d").drawImage(image, 0, 0);
    const bytes = new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
    return btoa(String.fromCharCode(...bytes));
}"""


def pictures(page: Page) -> list[bytes]:
    """The pixels of the sheet's pictures, once it is drawn."""
    expect(page.locator(".sheet")).to_have_attribute("aria-busy", "false")
    return [seen(image) for image in page.locator(".sheet img").all()]


def seen(image: Locator) -> bytes:
    """The pixels that an image shows."""
    return pixels(base64.b64decode(image.evaluate(READ)))


def pixels(data: bytes) -> bytes:
    """The pixels of an encoded image, with its size before them."""
    with Image.open(io.BytesIO(data)) as image:
        return f"{image.size}".encode() + image.convert("RGB").tobytes()


def of_seed(url: str, model: str, seed: int, **query) -> bytes:
    """The pixels that the server gives for a seed."""
    return pixels(httpx.get(f"{url}/v1/models/{model}/samples/{seed}.png", params=query).content)


def photo(width: int, height: int, kind: str = "PNG") -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


def file_of(data: bytes, name: str = "photo.png") -> dict[str, object]:
    return {"name": name, "mimeType": "image/png", "buffer": data}


def test_a_sheet_shows_the_pictures_of_its_seeds(open_page, url):
    page = open_page("/?model=pictures&seed=7")
    assert pictures(page) == [of_seed(url, "pictures", seed) for seed in range(7, 31)]
    page.get_by_role("button", name="Random seed").click()
    expect(page.get_by_text("Generated 24 samples")).to_be_visible()
    expect(page).not_to_have_url(f"{url}/?model=pictures&seed=7")
    drawn = pictures(page)
    assert drawn[0] == of_seed(url, "pictures", int(page.get_by_label("Seed", exact=True).input_value()))
    page.reload()
    assert pictures(page) == drawn, "the address says what is shown"


def test_what_the_address_says_wrong_is_left_out(open_page, url):
    page = open_page("/?model=pictures&seed=abc&pins=x,3,-1&label=none")
    assert pictures(page)[0] == of_seed(url, "pictures", 0)
    assert page.locator(".pins li").count() == 1


def test_a_download_leaves_the_drawing_alone(open_page, url):
    page = open_page("/?model=pictures")
    pictures(page)
    page.route("**/sample", lambda route: (time.sleep(0.3), route.continue_()))
    page.get_by_role("button", name="Random seed").click()
    with page.expect_download():
        page.get_by_role("button", name="Download", exact=True).click()
    seed = int(page.get_by_label("Seed", exact=True).input_value())
    assert pictures(page)[0] == of_seed(url, "pictures", seed)


def test_an_exchanged_artifact_is_shown_as_what_it_is_now(browser, artifacts, tmp_path):
    shutil.copytree(artifacts / "pictures", tmp_path / "artifacts" / "model")
    settings = Settings(artifacts=tmp_path / "artifacts", provider="cpu", reload=0.2)
    with serving(settings, tmp_path / "server.log") as address:
        page = browser.new_context().new_page()
        page.goto(f"{address}/?model=model&seed=3")
        drawn = pictures(page)
        exchange(artifacts / "classes", tmp_path / "artifacts" / "model")
        old = page.locator(".about").text_content()
        page.wait_for_timeout(5000)
        page.get_by_role("button", name="Random seed").click()
        expect(page.locator(".about")).not_to_have_text(old, timeout=15_000)
        assert pictures(page) != drawn
        expect(page.get_by_label("Class")).to_be_visible()
        page.context.close()


def test_class_and_truncation_are_asked_for(open_page, url):
    page = open_page("/?model=classes")
    assert pictures(page)[1] == of_seed(url, "classes", 1)
    page.get_by_label("Class").select_option("C")
    page.get_by_label("Truncation").fill("0.5")
    expect(page).to_have_url(f"{url}/?model=classes&seed=0&label=C&truncation=0.5")
    assert pictures(page)[1] == of_seed(url, "classes", 1, label="C", truncation=0.5)
    page.get_by_role("link", name="pictures", exact=True).click()
    expect(page.get_by_role("heading", name="pictures")).to_be_visible()
    expect(page.get_by_label("Class")).to_have_count(0)
    page.go_back()
    expect(page.get_by_label("Class")).to_be_visible()


def test_a_walk_leads_by_the_pinned_pictures(open_page, url):
    page = open_page("/?model=pictures")
    pictures(page)
    for seed in (2, 5):
        page.get_by_role("button", name=f"Pin seed {seed}", exact=True).click()
    expect(page.get_by_text("Interpolation from seed 2 to seed 5.")).to_be_visible()
    assert [seen(image) for image in page.locator(".pins img").all()] == [
        of_seed(url, "pictures", seed) for seed in (2, 5)
    ]
    slider, shown = page.get_by_label("Position in the interpolation"), page.locator(".stage img")
    assert seen(shown) == of_seed(url, "pictures", 2)
    slider.press("End")
    assert seen(shown) == of_seed(url, "pictures", 5)
    expect(shown).to_have_attribute("alt", "100% of the way from seed 2 to seed 5")
    slider.press("ArrowLeft")
    assert seen(shown) != of_seed(url, "pictures", 5)
    with page.expect_download() as film:
        page.get_by_role("button", name="Download animation").click()
    with Image.open(film.value.path()) as frames:
        assert (frames.format, frames.n_frames) == ("WEBP", 17)
    page.get_by_role("button", name="Play").click()
    expect(slider).not_to_have_value("15")
    page.reload()
    expect(page.get_by_role("button", name="Unpin seed 5")).to_be_visible()
    page.get_by_role("button", name="Unpin seed 5").click()
    expect(page.get_by_role("button", name="Pin seed 5", exact=True)).to_have_attribute(
        "aria-pressed", "false"
    )


def test_an_image_is_translated_beside_itself_in_both_directions(open_page, url):
    page = open_page("/?model=styles")
    data = photo(30, 20)
    page.get_by_label("Choose an image").set_input_files(file_of(data))
    expect(page.get_by_text("Translated a → b in")).to_be_visible()
    assert seen(page.get_by_alt_text("Original image")) == pixels(data)
    assert seen(page.get_by_alt_text("Translated image")) == pixels(translation(url, data, "a2b"))
    page.get_by_label("Visible part of the original image").press("ArrowRight")
    assert page.locator(".compare").evaluate("e => e.style.getPropertyValue('--at')") == "51%"
    page.get_by_label("b → a").check()
    expect(page.get_by_text("Translated b → a in")).to_be_visible()
    assert seen(page.get_by_alt_text("Translated image")) == pixels(translation(url, data, "b2a"))
    page.get_by_role("button", name="Translate back").click()
    expect(page.get_by_text("Translated a → b in")).to_be_visible()
    there_and_back = translation(url, translation(url, data, "b2a"), "a2b")
    assert seen(page.get_by_alt_text("Translated image")) == pixels(there_and_back)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download", exact=True).click()
    assert saved.value.suggested_filename == "photo-b2a-a2b.png"
    assert Path(saved.value.path()).read_bytes() == there_and_back


def test_an_image_is_enlarged_beside_what_the_browser_makes_of_it(open_page, enlarger, tmp_path):
    settings = Settings(artifacts=enlarger, provider="cpu", max_pixels=4 * 30 * 20)
    with serving(settings, tmp_path / "server.log") as url:
        page = open_page("/?model=larger", at=url)
        data = photo(30, 20)
        page.get_by_label("Choose an image").set_input_files(file_of(data))
        expect(page.get_by_text("Enlarged in")).to_be_visible()
        answer = httpx.post(f"{url}/v1/models/larger/translate", files={"image": data}).raise_for_status()
        assert seen(page.get_by_alt_text("Translated image")) == pixels(answer.content)
        assert seen(page.get_by_alt_text("Original image")) == pixels(data)
        expect(page.get_by_text("Enlarged by the browser")).to_be_visible()
        sides = "e => [e.clientWidth, e.clientHeight]"
        shown = [page.get_by_alt_text(f"{name} image").evaluate(sides) for name in ("Original", "Translated")]
        assert shown[0] == pytest.approx(shown[1], abs=1)
        page.get_by_label("Choose an image").set_input_files(file_of(photo(60, 40)))
        expect(page.get_by_text("Scaled down from")).to_be_visible()


def translation(url: str, data: bytes, direction: str) -> bytes:
    answer = httpx.post(
        f"{url}/v1/models/styles/translate?direction={direction}", files={"image": ("photo.png", data)}
    )
    return answer.raise_for_status().content


GIVE = """([place, kind, bytes]) => {
    const given = new DataTransfer();
    given.items.add(new File([Uint8Array.from(bytes)], "given.png", {type: "image/png"}));
    const event = kind === "paste"
        ? new ClipboardEvent(kind, {clipboardData: given, bubbles: true})
        : new DragEvent(kind, {dataTransfer: given, bubbles: true, cancelable: true});
    document.querySelector(place).dispatchEvent(event);
}"""


@pytest.mark.parametrize(("place", "kind"), [(".drop", "drop"), ("body", "paste")])
def test_an_image_may_be_dropped_or_pasted(open_page, url, place, kind):
    page, data = open_page("/?model=pairs"), photo(20, 20)
    page.locator(".drop").wait_for()
    page.evaluate(GIVE, [place, kind, list(data)])
    expect(page.get_by_text("Translated a → b in")).to_be_visible()
    assert seen(page.get_by_alt_text("Original image")) == pixels(data)


def test_what_another_model_draws_may_be_translated(open_page):
    page = open_page("/?model=styles")
    page.get_by_role("button", name="Sample of pictures").click()
    expect(page.get_by_text("Translated a → b in")).to_be_visible()


def test_large_images_are_made_to_fit_and_others_are_left_alone(open_page, url):
    page, fits, clear = open_page("/?model=styles"), photo(100, 100), Image.new("RGBA", (300, 200))
    choose(page, fits)
    assert seen(page.get_by_alt_text("Original image")) == pixels(fits), "all that the server takes"
    file = io.BytesIO()
    clear.save(file, "PNG")
    choose(page, file.getvalue())
    expect(page.get_by_text("Scaled down from 300")).to_contain_text("to 121")
    assert set(seen(page.get_by_alt_text("Original image")).partition(b")")[2]) == {255}, (
        "what is clear is white"
    )
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download original").click()
    answer = httpx.post(
        f"{url}/v1/models/styles/translate", files={"image": Path(saved.value.path()).read_bytes()}
    )
    assert answer.status_code == 200, "the code names a file that one can have"


def test_what_was_translated_before_is_not_taken_for_what_is_wanted_now(open_page):
    open_page.expected = {415}
    page = open_page("/?model=styles")
    choose(page, photo(20, 20))
    page.get_by_label("Choose an image").set_input_files(file_of(b"GIF89a no image", "b.png"))
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("button", name="Download", exact=True)).to_be_hidden()
    expect(page.get_by_alt_text("Translated image")).to_be_hidden()


def choose(page: Page, data: bytes) -> None:
    """Choose an image and wait for its translation."""
    page.get_by_label("Choose an image").set_input_files(file_of(data))
    expect(page.get_by_text("Translated a → b in")).to_be_visible()


@pytest.mark.parametrize("model", ["pictures", "styles"])
def test_the_code_does_what_the_page_does(open_page, url, model, tmp_path):
    page, data = open_page(f"/?model={model}&seed=3"), photo(9, 9)
    if model == "styles":
        page.get_by_label("Choose an image").set_input_files(file_of(data, "a 'photo'.png"))
        expected, out = translation(url, data, "a2b"), "a 'photo'-a2b.png"
        (tmp_path / "a 'photo'.png").write_bytes(data)
    else:
        expected = httpx.post(f"{url}/v1/models/{model}/sample", json={"n": 24, "seed": 3}).content
        out = "pictures-3.png"
    page.get_by_text("API request").first.click()
    block = page.locator(".code").first
    for name, command in (("curl", ["bash", "-c"]), ("Python", [sys.executable, "-c"])):
        block.get_by_role("button", name=name).click()
        subprocess.run([*command, block.locator("code").text_content()], cwd=tmp_path, check=True, timeout=60)
        assert (tmp_path / out).read_bytes() == expected, name
        (tmp_path / out).unlink()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    block.get_by_role("button", name="Copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == block.locator("code").text_content()


def test_errors_are_told_as_the_server_says_them(open_page):
    open_page.expected = {400, 415}
    page = open_page("/?model=pictures&seed=9007199254740991", size=PHONE)
    expect(page.get_by_role("alert").first).to_contain_text("seed + n - 1 must be at most 9007199254740991")
    must_be_usable(page)
    page = open_page("/?model=styles")
    page.get_by_label("Choose an image").set_input_files(file_of(b"GIF89a no image"))
    expect(page.get_by_role("alert")).to_contain_text("one of the formats PNG, JPEG, WEBP")


def test_a_server_that_is_gone_is_told_and_asked_again(open_page, url):
    page = open_page("/?model=pictures")
    pictures(page)
    page.context.set_offline(True)
    page.get_by_role("button", name="Random seed").click()
    alert = page.locator(".line").first.get_by_role("alert")
    expect(alert).to_contain_text("The server can't be reached.")
    page.context.set_offline(False)
    alert.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("Generated 24 samples")).to_be_visible()


def test_a_card_tells_what_the_manifest_says(open_page, measured):
    card = open_page("/?model=classes").get_by_label("Model card")
    label = read_manifest(measured / "classes")
    expect(card).to_contain_text(label.licence)
    expect(card).to_contain_text(label.training.data)
    expect(card).to_contain_text(label.graphs["generator"].variants[0].sha256[:12])
    table = card.get_by_role("table")
    expect(table).to_contain_text("1000 samples compared with glyphs:ABC, using classifier features")
    rows = [row.all_text_contents() for row in (row.locator("th,td") for row in table.locator("tr").all())]
    assert rows == [
        ["metric", "this model", "real"],
        ["frechet ↓", "12.35", "1"],
        ["precision ↑", "0.5", "0.9"],
    ]


def test_a_server_with_keys_asks_for_one(open_page, artifacts, tmp_path):
    settings = Settings(artifacts=artifacts, provider="cpu", api_keys="secret")
    open_page.expected = {401}
    with serving(settings, tmp_path / "server.log") as address:
        page = open_page("/?model=pictures", address)
        must_be_usable(page)
        for key in ("wrong", "secret"):
            expect(page.get_by_role("alert")).to_contain_text("a valid API key is required")
            page.get_by_label("API key").fill(key)
            page.get_by_role("button", name="Submit").click()
        assert len(pictures(page)) == 24
        page.get_by_text("API request").first.click()
        code = page.locator(".code code").first
        expect(code).to_contain_text('"Authorization: Bearer $API_KEY"')
        expect(code).not_to_contain_text("secret")


def must_be_usable(page: Page) -> None:
    """By axe's rules: names, roles, contrast; and nothing is wider than the screen."""
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


@pytest.mark.parametrize("model", ["pictures", "classes", "points", "styles"])
@pytest.mark.parametrize(("scheme", "size"), [("light", WIDE), ("dark", PHONE)])
def test_everybody_can_use_it(open_page, model, scheme, size):
    page = open_page(f"/?model={model}&pins=1,2", size=size, color_scheme=scheme)
    if model == "styles":
        choose(page, photo(40, 30))
    else:
        pictures(page)
    page.get_by_text("API request").first.click()
    must_be_usable(page)


def test_axe_would_see_what_nobody_can_use(open_page):
    """The control."""
    page = open_page("/?model=points")
    pictures(page)
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert [each["id"] for each in Axe().run(page).response["violations"]] == ["button-name"]


def test_all_can_be_done_by_keyboard(open_page):
    page = open_page("/?model=pictures")
    pictures(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    for _ in range(4):  # seed, random seed, truncation, download
        page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Unpin seed 0")).to_be_visible()
