// Where the navigation is longer than the screen, the page that is shown stays in sight.
document.querySelector('#rail [aria-current]')?.scrollIntoView({ block: 'nearest' });
