"use strict";
// The page can be read without this: it opens the node to which a link leads, and all nodes at once.
(function () {
  var all = document.querySelectorAll("details.node, details.group");
  function follow() {
    var target = document.getElementById(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") {
      for (var outer = target; outer; outer = outer.parentElement.closest("details")) {
        outer.open = true;
      }
      target.querySelector("summary").focus();
    }
  }
  window.addEventListener("hashchange", follow);
  follow();
  var buttons = document.getElementById("buttons");
  buttons.hidden = 2 > all.length;
  buttons.addEventListener("click", function (event) {
    var open = event.target.getAttribute("data-open");
    if (open !== null) {
      all.forEach(function (node) { node.open = open !== ""; });
    }
  });
})();
