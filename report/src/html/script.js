'use strict';
(() => {
  const form = document.querySelector('.filter');
  const cases = [...document.querySelectorAll('details.case')];
  const subjects = [...document.querySelectorAll('section.subject')];
  const none = document.querySelector('p.none');
  form.hidden = false;

  const shown = () => cases.filter(one => !one.hidden);
  const filter = () => {
    const words = form.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const verdicts = new Set([...form.querySelectorAll('[name=verdict]:checked')].map(box => box.value));
    for (const one of cases) {
      one.hidden = !(verdicts.has(one.dataset.verdict) && words.every(word => one.dataset.text.includes(word)));
    }
    for (const one of subjects) one.hidden = !one.querySelector('details.case:not([hidden])');
    none.hidden = shown().length > 0;
  };
  form.addEventListener('input', filter);
  form.addEventListener('submit', event => event.preventDefault());

  form.open.addEventListener('click', () => {
    const open = shown().some(one => !one.open);
    for (const one of shown()) one.open = open;
    form.open.textContent = open ? 'Fold all' : 'Unfold all';
  });

  // What is folded was left as text, because all of it at once takes a second to read.
  addEventListener('toggle', event => {
    const text = event.target.querySelector?.(':scope > .scroll > noscript');
    if (text) text.outerHTML = text.textContent;
  }, true);

  // A link shows what it points to, whatever is folded or filtered away.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let one = target; one; one = one.parentElement) {
      if (one.matches('details')) one.open = true;
      one.hidden = false;
    }
    for (const list of document.querySelectorAll('.cases')) if (list.matches(':popover-open')) list.hidePopover();
    target.scrollIntoView();
    target.focus({ preventScroll: true });
    // What came into sight by that has its own height now, and not the one that was taken for it.
    requestAnimationFrame(() => target.scrollIntoView());
  };
  addEventListener('hashchange', reveal);
  // A link to where one already is changes nothing.
  addEventListener('click', event => {
    const link = event.target.closest('a[href^="#"]');
    if (link && link.getAttribute('href') === location.hash) reveal();
  });
  reveal();

  // What is printed is what is shown, with what failed unfolded.
  addEventListener('beforeprint', () => {
    for (const one of shown()) if (one.matches('.fail, .error')) one.open = true;
  });
})();
