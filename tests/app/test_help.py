"""Help on the picture: the tour of five steps, the pages inside the window, and the "?" beside the numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QTextCursor
from PySide6.QtWidgets import QApplication

from app.panels.help_pages import NUMBERS, HelpPages, read_pages
from app.shell.tour import read_steps
from app.widgets.help_button import HelpButton
from app.window import MainWindow
from mft_engine.resources import resources_folder

LEFT = Qt.MouseButton.LeftButton
DOCS = Path(__file__).parents[2] / "docs"


def shows(pages: HelpPages, heading: str) -> bool:
    """Whether a heading of the page can be seen."""
    block = pages.browser.document().begin()
    while block.isValid() and not (block.blockFormat().headingLevel() and block.text() == heading):
        block = block.next()
    place = pages.browser.cursorRect(QTextCursor(block)).center()
    return block.isValid() and bool(pages.browser.viewport().rect().contains(place))


def test_the_pages_are_the_files_of_the_documentation_word_for_word(qtbot: Any) -> None:
    pages = read_pages()
    assert {name: (DOCS / f"{name}.md").read_text(encoding="utf-8") for name in pages} == pages
    # The index is the contents of the HTML pages.
    assert set(pages) == {path.stem for path in DOCS.glob("*.md")} - {"index"} and next(iter(pages)) == "window"


def test_every_question_mark_leads_to_its_heading(window: MainWindow, qtbot: Any) -> None:
    with qtbot.waitSignal(window.session.comparison_ready):
        window.session.resample()
    buttons = window.findChildren(HelpButton)
    assert len(buttons) >= 6
    for button in buttons:
        assert f"\n## {button.heading}\n" in read_pages()[NUMBERS], button.heading
    shown = [button for button in buttons if button.isVisible()]
    for button in shown[:3]:
        window.self_consistency.ensureWidgetVisible(button)
        qtbot.mouseClick(button, LEFT)
        pages = window.findChild(HelpPages)
        assert pages.isVisible() and pages.shown == NUMBERS
        assert pages.contents.currentItem().text(0) == button.heading
        qtbot.wait(30)  # the contents get the focus meanwhile, and choose nothing by themselves
        assert pages.shown == NUMBERS
        qtbot.waitUntil(lambda heading=button.heading, pages=pages: shows(pages, heading))
    pages.close()


def test_f1_brings_the_pages_contents_links_and_search_lead_through_them(window: MainWindow, qtbot: Any) -> None:
    window.setFocus()
    qtbot.keyClick(window, Qt.Key.Key_F1)
    pages = window.findChild(HelpPages)
    assert pages.isVisible() and pages.shown == "window"
    item = pages.contents.topLevelItem(1)
    item.setExpanded(True)
    QApplication.processEvents()
    part = item.child(3)
    qtbot.mouseClick(pages.contents.viewport(), LEFT, pos=pages.contents.visualItemRect(part).center())
    assert pages.shown == NUMBERS
    qtbot.waitUntil(lambda: shows(pages, part.text(0)))
    qtbot.keyClicks(pages.search, "Onsager")
    qtbot.keyClick(pages.search, Qt.Key.Key_Return)
    assert "Onsager" in read_pages()[pages.shown] and pages.browser.textCursor().selectedText() == "Onsager"
    shown = pages.shown
    pages.search.clear()
    qtbot.keyClicks(pages.search, "no such word anywhere")
    qtbot.keyClick(pages.search, Qt.Key.Key_Return)
    assert pages.shown == shown
    pages.show_page("no such page")
    assert pages.shown == shown
    pages.close()


def test_the_tour_points_at_five_things_and_its_buttons_do_what_they_say(window: MainWindow, qtbot: Any) -> None:
    tour, said = window.tour, []
    window.actions_by_name["tour"].trigger()
    for number, step in enumerate(read_steps()):
        assert tour.step == number and tour.title.text() == step.title and tour.count.text() == f"{number + 1} of 5"
        bubble, frame = tour.bubble.geometry(), tour._frame.geometry()
        assert window.rect().contains(bubble) and window.rect().contains(frame)
        # It does not cover what it speaks of, where there is any other place: the cloud alone is larger than the rest.
        assert step.target == "cloud" or not bubble.intersects(frame.adjusted(6, 6, -6, -6)), step.target
        said.append(tour.text.text())
        assert tour.text.height() >= tour.text.heightForWidth(tour.text.width()), "the text is cut off"
        assert tour.act.isVisible() == bool(step.act)
        if step.act == "play":
            qtbot.mouseClick(tour.act, LEFT)
            assert window.session.is_running
            window.session.pause()
        elif step.act:
            with qtbot.waitSignal(window.session.comparison_ready):
                qtbot.mouseClick(tour.act, LEFT)
        qtbot.mouseClick(tour.next, LEFT)
    assert not tour.is_running and not tour.bubble.isVisible() and len(set(said)) == 5
    assert window.session.recipe.foreground.background == "lazy"
    assert window.self_consistency.card.state == "inconsistent"


def test_the_tour_is_offered_at_the_first_start_and_never_again(window: MainWindow, qtbot: Any) -> None:
    window.welcome()
    assert window.tour.bubble.isVisible() and window.tour.title.text() == "New here?" and not window.tour.is_running
    window.resize(1300, 740)
    assert window.rect().contains(window.tour.bubble.geometry())
    qtbot.mouseClick(window.tour.end, Qt.MouseButton.LeftButton)
    assert not window.tour.bubble.isVisible()
    window.welcome()
    assert not window.tour.bubble.isVisible()
    window.tour.offer()
    qtbot.mouseClick(window.tour.next, Qt.MouseButton.LeftButton)
    assert window.tour.step == 0 and window.tour.back.isVisible() and window.tour.end.text() == "End"


def test_the_tour_follows_the_window_goes_back_and_ends(window: MainWindow, qtbot: Any) -> None:
    window.tour.start()
    qtbot.mouseClick(window.tour.next, LEFT)
    before = QRect(window.tour._frame.geometry())
    qtbot.mouseClick(window.tour.back, LEFT)
    assert window.tour.step == 0 and not window.tour.back.isEnabled() and window.tour._frame.geometry() != before
    window.resize(1100, 700)
    QApplication.processEvents()
    assert window.rect().contains(window.tour.bubble.geometry())
    qtbot.mouseClick(window.tour.end, LEFT)
    assert not window.tour.is_running and not window.tour._frame.isVisible()


def test_the_tours_text_is_a_resource_that_wheels_carry() -> None:
    assert (resources_folder() / "tour.toml").is_file() and len(read_steps()) == 5
