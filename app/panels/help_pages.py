"""The help pages: the files of `docs/`, as they are, with their headings as a list of contents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PySide6.QtCore import Qt, QTimer, QUrl, Slot
from PySide6.QtGui import QDesktopServices, QTextCursor, QTextDocument
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QLineEdit,
    QSplitter,
    QTextBrowser,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from mft_engine.resources import installed_folder

NUMBERS = "numbers"
PLACE = Qt.ItemDataRole.UserRole
# In the order of the list; pages that are not named here follow.
FIRST = ("window", NUMBERS, "tutorial", "method", "physics", "watching")


def read_pages() -> dict[str, str]:
    """Name of every page -> its Markdown text.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    folder = installed_folder("docs", f"{NUMBERS}.md")
    # The index is the contents of the HTML pages; here they stand in the list.
    paths = (path for path in sorted(folder.glob("*.md")) if path.stem != "index")
    found = {path.stem: path.read_text(encoding="utf-8") for path in paths}
    return {name: found[name] for name in (*FIRST, *(name for name in found if name not in FIRST)) if name in found}


class HelpPages(QDialog):
    """Contents on the left, the page on the right, a search above; links lead from page to page."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("help_pages")
        self.setWindowTitle("Help")
        self._pages = read_pages()
        self._shown = ""
        self.contents = QTreeWidget(self)
        self.contents.setHeaderHidden(True)
        self.contents.setAccessibleName("Contents")
        self.contents.setToolTip("Pages and their parts")
        self.browser = QTextBrowser(self)
        self.browser.setAccessibleName("Help page")
        self.browser.setToolTip("Links lead to other pages; the arrow keys scroll")
        self.browser.setOpenLinks(False)
        self.search = QLineEdit(self)
        self.search.setPlaceholderText("Find in all pages")
        self.search.setAccessibleName("Find in the help pages")
        self.search.setToolTip("Enter goes from place to place")
        self.search.setClearButtonEnabled(True)
        self._fill_contents()
        splitter = QSplitter(self)
        splitter.addWidget(self.contents)
        splitter.addWidget(self.browser)
        splitter.setSizes([220, 620])
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        close = buttons.button(QDialogButtonBox.StandardButton.Close)
        close.setAutoDefault(False)
        close.setToolTip("Close the help pages")
        buttons.rejected.connect(self.reject)
        below = QHBoxLayout()
        below.addWidget(self.search, 1)
        below.addWidget(buttons)
        layout = QVBoxLayout(self)
        layout.addWidget(splitter, 1)
        layout.addLayout(below)
        self.resize(860, 600)
        self.contents.currentItemChanged.connect(self._item_picked)
        self.browser.anchorClicked.connect(self._follow)
        self.search.returnPressed.connect(self._find_next)
        self.show_page(next(iter(self._pages)))

    def _fill_contents(self) -> None:
        for name, text in self._pages.items():
            lines = _headings(text)
            title = next((words for level, words in lines if level == 1), name)
            item = QTreeWidgetItem(self.contents, [title])
            item.setData(0, PLACE, (name, ""))
            for level, words in lines:
                if level == 2:
                    QTreeWidgetItem(item, [words]).setData(0, PLACE, (name, words))

    def show_page(self, name: str, heading: str = "") -> None:
        """A page, from one of its headings on; an unknown page changes nothing."""
        if name not in self._pages:
            return
        if name != self._shown:
            self._shown = name
            self.browser.setMarkdown(self._pages[name])
            _give_room(self.browser.document())
        self._mark_in_contents(name, heading)
        self.browser.moveCursor(QTextCursor.MoveOperation.Start)
        if heading:
            # A page that was just set, or a dialog that was just shown, has its places a moment later.
            QTimer.singleShot(0, self, lambda: self._go_to(heading))

    def _mark_in_contents(self, name: str, heading: str) -> None:
        """A list that has no current entry would choose its first one, and its page, as soon as it has the focus."""
        places = {self._place(item): item for item in self._items()}
        self.contents.blockSignals(True)
        self.contents.setCurrentItem(places.get((name, heading), places[name, ""]))
        self.contents.blockSignals(False)

    def _items(self) -> Iterator[QTreeWidgetItem]:
        for k in range(self.contents.topLevelItemCount()):
            item = self.contents.topLevelItem(k)
            if item is not None:
                yield item
                yield from (part for i in range(item.childCount()) if (part := item.child(i)) is not None)

    @staticmethod
    def _place(item: QTreeWidgetItem) -> tuple[str, str]:
        name, heading = item.data(0, PLACE)
        return name, heading

    @property
    def shown(self) -> str:
        """Name of the page on the screen."""
        return self._shown

    def _go_to(self, heading: str) -> None:
        block = self.browser.document().begin()
        while block.isValid():
            if block.blockFormat().headingLevel() and block.text() == heading:
                cursor = QTextCursor(block)
                self.browser.moveCursor(QTextCursor.MoveOperation.End)  # so that the heading comes to the top
                self.browser.setTextCursor(cursor)
                bar = self.browser.verticalScrollBar()
                bar.setValue(bar.value() + self.browser.cursorRect(cursor).top())
                return
            block = block.next()

    @Slot(object, object)
    def _item_picked(self, item: QTreeWidgetItem | None, before: object) -> None:
        if item is not None:
            self.show_page(*self._place(item))

    @Slot(QUrl)
    def _follow(self, url: QUrl) -> None:
        if url.scheme() in ("http", "https"):
            QDesktopServices.openUrl(url)
        elif Path(url.path()).suffix == ".md":
            self.show_page(Path(url.path()).stem)

    @Slot()
    def _find_next(self) -> None:
        words = self.search.text().strip()
        if not words or self.browser.find(words):
            return
        names = list(self._pages)
        start = names.index(self._shown)
        for name in (*names[start + 1 :], *names[: start + 1]):
            if words.casefold() in self._pages[name].casefold():
                self.show_page(name)
                if self.browser.find(words):
                    return


def _headings(text: str) -> list[tuple[int, str]]:
    found, is_code = [], False
    for line in text.splitlines():
        is_code ^= line.startswith("```")
        marks, _, words = line.partition(" ")
        if not is_code and words and marks and set(marks) == {"#"}:
            found.append((len(marks), words.replace("`", "").strip()))
    return found


def _give_room(document: QTextDocument) -> None:
    """Markdown comes without space between paragraphs and headings."""
    block = document.begin()
    while block.isValid():
        form = block.blockFormat()
        form.setTopMargin(14 if form.headingLevel() else 4)
        form.setBottomMargin(4)
        QTextCursor(block).setBlockFormat(form)
        block = block.next()
